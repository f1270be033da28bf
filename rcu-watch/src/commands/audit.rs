//! `rcu-watch audit`: every traceable function that this kernel runs with RCU off.

use anyhow::Result;

use crate::audit;
use crate::cli::args::AuditArgs;
use crate::cli::exit::Exit;

pub fn run(args: &AuditArgs) -> Result<Exit> {
    audit::run::run(&args.into())
}
