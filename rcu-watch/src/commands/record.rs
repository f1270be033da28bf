//! `rcu-watch record`: a watch that also keeps every record.

use anyhow::Result;
use rcu_watch_core::verdict::Exit;

use crate::cli::args::RecordArgs;
use crate::commands::watch;
use crate::kernel::Request;
use crate::session::options::WatchOptions;

pub(crate) fn run(args: &RecordArgs) -> Result<Exit> {
    watch::run_with(&Request::from(&args.watch.scope), &WatchOptions::from(args))
}
