//! `dmesg`: the log to read.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputArgs;
use super::verdict::VerdictArgs;

pub(super) const NOTES: &str = "\
Examples:
  rcu-watch dmesg
  rcu-watch dmesg -f ktap console.log
  cat /sys/fs/pstore/dmesg-* | rcu-watch dmesg -

Exit codes: 0 no finding, 1 error, 2 findings, 4 the kernel's log is closed to this process";

#[derive(Args, Clone, Debug)]
pub struct DmesgArgs {
    /// The log; - is standard input, none the running kernel's own
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
