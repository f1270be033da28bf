//! `doctor`: takes nothing but how to say it.

use clap::Args;

use super::output::OutputArgs;

pub(super) const NOTES: &str = "\
Where nothing stands in the way it also loads the programs, reads the state, and lets go again.

Examples:
  rcu-watch doctor -f json | jq -r 'select(.type == \"check\") | .data | \"\\(.state) \\(.name)\"'

Exit codes: 0 this kernel can be watched, 1 error, 4 it cannot: what says NO, says why";

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}
