//! `record`: a watch, and the file that keeps it.

use std::path::PathBuf;

use clap::Args;

use super::watch::WatchArgs;

pub(super) const NOTES: &str = "\
Examples:
  rcu-watch record -d 30s break.rec
  rcu-watch record -d 30s --stream all run.rec   with idle, irqs and NMIs, for pictures";

#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The recording to write
    pub file: PathBuf,
    #[command(flatten)]
    pub watch: WatchArgs,
}
