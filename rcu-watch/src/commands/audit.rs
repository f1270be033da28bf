//! `rcu-watch audit`: every traceable function that this kernel runs with RCU off.

use anyhow::Result;
use rcu_watch_core::verdict::Exit;

use crate::audit;
use crate::cli::args::AuditArgs;

pub(crate) fn run(args: &AuditArgs) -> Result<Exit> {
    audit::run::run(&args.into())
}
