//! What a run is asked to watch.

use rcu_watch_core::units::CpuId;

use crate::cli::args::{ScopeArgs, TransportChoice, WatchpointMode};
use crate::cli::glob::Glob;
use crate::cli::value;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// CPUs to watch; empty: all that are online.
    pub cpus: Vec<CpuId>,
    /// Functions to watch; empty: all.
    pub functions: Vec<Glob>,
    pub require: Vec<value::Requirement>,
    /// Probe functions that run with RCU off although nobody else is on them.
    pub exposed: bool,
    /// Use fentry also where it excludes livepatches.
    pub allow_fentry: bool,
    pub watchpoints: WatchpointMode,
    pub transport: TransportChoice,
}

impl From<&ScopeArgs> for Request {
    fn from(scope: &ScopeArgs) -> Self {
        Self {
            cpus: scope.cpus.as_ref().map_or_else(Vec::new, |list| list.0.clone()),
            functions: scope.function.clone(),
            require: scope.require.clone(),
            exposed: scope.exposed,
            allow_fentry: scope.allow_fentry,
            watchpoints: scope.watchpoints,
            transport: scope.transport,
        }
    }
}

impl Request {
    pub(super) fn wants(&self, function: &str) -> bool {
        self.functions.is_empty() || self.functions.iter().any(|glob| glob.matches(function))
    }
}
