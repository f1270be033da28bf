//! `handlers`: who hooks this kernel.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputArgs;
use crate::kernel::Glob;

pub(super) const NOTES: &str = "\
It reads the kernel's lists and attaches nothing. Without root it lists what it may see, and says
what it may not.

Examples:
  sudo rcu-watch handlers
  sudo rcu-watch handlers --function 'arch_cpu_*' -v
  sudo rcu-watch handlers -f json | jq 'select(.type == \"handler\") | .data.owner'
  sudo rcu-watch handlers -f json -o old.ndjson
  sudo rcu-watch handlers --diff old.ndjson --exit-on-change

What differs from an earlier list is new, gone, silent (it cannot run any more) or back. Counters
and owners are no change, and rcu-watch's own handlers are left out. In one boot a handler is
known by kind, name, place, address, and BPF program and link; in another boot by kind, name and
place. What a list tells that only one of the two could read is not compared.

Exit codes: 0 all lists were read, 1 error, 2 with --exit-on-change: a change was seen,
            3 one of this kernel's lists could not be read, or not compared, 4 none could be read.
            A change that was seen outweighs a list that was not read.";

#[derive(Args, Clone, Debug)]
pub struct HandlersArgs {
    /// Only handlers on these functions or tracepoints; `*` and `?` stand for any
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    /// Tell what changed since this earlier `handlers -f json`
    #[arg(long, value_name = "FILE")]
    pub diff: Option<PathBuf>,
    /// Exit 2 where something changed
    #[arg(long, requires = "diff")]
    pub exit_on_change: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
