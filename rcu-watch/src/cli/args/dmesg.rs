//! `dmesg`: the logs to read.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputArgs;
use super::verdict::VerdictArgs;

pub(super) const NOTES: &str = "\
Examples:
  rcu-watch dmesg
  rcu-watch dmesg -f ktap console.log
  ssh host dmesg | rcu-watch dmesg
  cat /sys/fs/pstore/dmesg-* | rcu-watch dmesg -
  rcu-watch dmesg --follow

What counts: errors, or from --fail-on on. Warnings are a handler that was skipped
(RW013), RCU used on an offline CPU without a handler (RW011), and a stall whose holder
is named (RW020). Info is a stall without one, and what printing another splat caused.

Exit codes: 0 nothing that counts, 1 error, 2 findings that count, 3 lines speak of RCU
and could not be parsed, 4 the kernel's log is closed to this process";

#[derive(Args, Clone, Debug)]
pub struct DmesgArgs {
    /// The logs, in their order; - is standard input
    ///
    /// None is standard input where that is a pipe or a file, else the running kernel's own log.
    pub files: Vec<PathBuf>,
    /// Go on as the log grows, until interrupted
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
