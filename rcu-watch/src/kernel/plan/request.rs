//! What may be asked of the plan: where to look, by what means, and what must be seen.
//!
//! A [`Request`] is made by whoever wants to watch, be it the command line, a test or another program. It
//! holds nothing of the kernel: `--require` and the like are only held against it when the plan is made.

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::Point;
use rcu_watch_core::units::CpuId;

use super::glob::Glob;
use crate::kernel::facts::feature::TransportChoice;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// CPUs to watch; empty: all that are online.
    pub cpus: Vec<CpuId>,
    /// Functions to watch; empty: all.
    pub functions: Vec<Glob>,
    pub require: Vec<Requirement>,
    /// Probe functions that run with RCU off although nobody else is on them.
    pub exposed: bool,
    /// Use fentry also where it excludes livepatches.
    pub allow_fentry: bool,
    pub watchpoints: WatchpointMode,
    pub transport: TransportChoice,
}

impl Request {
    pub(super) fn wants(&self, function: &str) -> bool {
        self.functions.is_empty() || self.functions.iter().any(|glob| glob.matches(function))
    }
}

/// What must have been judged or seen for the run to be conclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    Rule(RuleId),
    Point(Point),
}

/// When watchpoints show entry into idle and irqs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchpointMode {
    #[default]
    Off,
    /// For a hundredth of the time.
    Sample,
    Always,
}
