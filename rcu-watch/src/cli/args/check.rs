//! `check`: what is to be patched or traced.

use std::time::Duration;

use clap::Args;

use super::output::OutputArgs;
use crate::cli::value;

pub(super) const NOTES: &str = "\
A probe is placed on each function that is not refused at once. On a terminal rcu-watch asks
first; elsewhere it needs --yes. Run what calls the functions meanwhile: evidence is what was seen.

What the kernel would make of it now is foreseen from its lists: whether it would refuse a livepatch
and for whose sake, whether tasks sit in a function that it replaces, and whose probes would fall
silent.

Examples:
  rcu-watch check --yes ./my-livepatch.ko && insmod ./my-livepatch.ko
  rcu-watch check --no-probe arch_cpu_idle

Exit codes: 0 no evidence against any, 1 error, 2 some must or can not be hooked,
            3 inconclusive or a transition may hang, 4 not supported here";

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Functions, or livepatch modules (PATCH.ko), which need not be loaded
    #[arg(required = true, value_name = "FUNC|PATCH.ko")]
    pub targets: Vec<String>,
    /// Observe this long
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = value::duration)]
    pub duration: Duration,
    /// Do not ask before probes are placed
    #[arg(short, long)]
    pub yes: bool,
    /// Place no probe: only say what is known
    #[arg(long, conflicts_with = "yes")]
    pub no_probe: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
