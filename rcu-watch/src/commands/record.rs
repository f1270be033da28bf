//! `rcu-watch record`: a watch that also keeps every record.

use anyhow::Result;

use crate::cli::args::{ExtraArgs, RecordArgs, WatchArgs};
use crate::cli::exit::Exit;
use crate::commands::watch;

pub fn run(args: &RecordArgs) -> Result<Exit> {
    let extra = ExtraArgs { record: Some(args.file.clone()), ..args.watch.extra.clone() };
    watch::run(&WatchArgs { extra, ..args.watch.clone() })
}
