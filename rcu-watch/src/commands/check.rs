//! `rcu-watch check`: before patching or tracing, is there evidence against it?

use anyhow::Result;

use crate::check;
use crate::cli::args::CheckArgs;
use crate::cli::exit::Exit;

pub fn run(args: &CheckArgs) -> Result<Exit> {
    check::run::run(&args.into())
}
