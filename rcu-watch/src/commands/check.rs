//! `rcu-watch check`: before patching or tracing, is there evidence against it?

use anyhow::Result;
use rcu_watch_core::verdict::Exit;

use crate::check;
use crate::cli::args::CheckArgs;

pub(crate) fn run(args: &CheckArgs) -> Result<Exit> {
    check::run::run(&args.into())
}
