//! `probes`: where a watch would look.

use clap::Args;

use super::output::OutputArgs;
use super::scope::ScopeArgs;

#[derive(Args, Clone, Debug)]
pub struct ProbesArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
