//! `handlers`: who hooks this kernel.

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

Exit codes: 0 all lists were read, 1 error, 3 one of this kernel's lists could not be read,
            4 none could";

#[derive(Args, Clone, Debug)]
pub struct HandlersArgs {
    /// Only handlers on these functions or tracepoints; `*` and `?` stand for any
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    #[command(flatten)]
    pub output: OutputArgs,
}
