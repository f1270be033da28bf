//! `patches`: how long to wait, and from when on a transition counts as stalled.

use std::time::Duration;

use clap::Args;

use super::output::OutputArgs;
use crate::cli::value;

pub(super) const NOTES: &str = "\
Reads only: nothing is attached, and no livepatch is touched.

Examples:
  rcu-watch patches                what each livepatch replaces, and who holds its transition up
  modprobe my-livepatch && rcu-watch patches --wait 60s || rcu-watch patches > report.txt
  rcu-watch patches -f json | jq -r 'select(.type == \"patch\") | .data | \"\\(.patch) \\(.enabled)\"'

Exit codes: 0 nothing is stalled (--wait: every transition is complete), 1 error, 2 a transition is
stalled (--wait: or is not complete, or was forced), 3 interrupted, or something could not be read,
4 this kernel has no livepatching";

#[derive(Args, Clone, Debug)]
pub struct PatchesArgs {
    /// Wait so long for transitions to end
    #[arg(long, value_name = "TIME", value_parser = value::duration)]
    pub wait: Option<Duration>,
    /// A transition counts as stalled when it is older
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = value::duration)]
    pub stall_after: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}
