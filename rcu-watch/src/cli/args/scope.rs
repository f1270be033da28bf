//! Where to look and by what means, for each command that makes a plan.

use clap::Args;

use crate::cli::value::{self, CpuList};
use crate::cli::word::{self, one_of};
use crate::kernel::facts::feature::TransportChoice;
use crate::kernel::plan::glob::Glob;
use crate::kernel::plan::{Requirement, WatchpointMode};

/// Where to look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Watch these CPUs only: 0-3,8
    #[arg(short, long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Watch functions that match only; * and ? stand for any (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    /// Inconclusive unless it was judged or fired (repeatable)
    #[arg(long, value_name = "RULE|POINT", value_parser = value::requirement)]
    pub require: Vec<Requirement>,
    /// Probe idle functions that nobody else hooks: itself a hazard
    #[arg(long)]
    pub exposed: bool,
    /// Use fentry for what takes no kprobe even where it keeps livepatches from being loaded meanwhile
    #[arg(long, hide_short_help = true)]
    pub allow_fentry: bool,
    /// See idle and irq entry: off (default), sample (1 % of time), always
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "off",
        value_parser = one_of(word::WATCHPOINTS),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub watchpoints: WatchpointMode,
    /// How records leave the kernel: auto, ring (BPF ring buffer), perf (perf event array)
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        value_parser = one_of(word::TRANSPORT),
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub transport: TransportChoice,
}
