//! The attach plan: what is watched by what, what was passed over, and what stays unseen.

use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::header::Transport;
use rcu_watch_core::report::header::{BlindSpot, ChosenProbe, PassedOver, PlannedPoint, Proof};
use rcu_watch_core::units::{CpuId, ProbeId};

use crate::kernel::read::support::Reason;

/// A probe to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// What it is of; its mechanism and symbol say where it is attached.
    pub probe: Probe,
    /// Bytes into the function; 0 but for kprobes that must not sit on the ftrace site.
    pub offset: u64,
    /// How fentry names the function: its id among the kernel's types.
    pub type_id: Option<u32>,
    /// The module that the function is in.
    pub module: Option<String>,
}

/// A point, and which probe was chosen for it, if any.
#[derive(Clone, Debug)]
pub struct PointChoice {
    pub point: Point,
    /// The function that the point is about, where it has one of its own.
    pub site: Option<String>,
    pub required: bool,
    /// Index into [`AttachPlan::probes`].
    pub chosen: Option<usize>,
    pub passed_over: Vec<PassedOver>,
}

impl PointChoice {
    /// All reasons for which something was passed over, each once.
    #[must_use]
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        for passed in &self.passed_over {
            if !reasons.contains(&passed.reason.as_str()) {
                reasons.push(&passed.reason);
            }
        }
        reasons.join("; ")
    }
}

/// Rows of which one must be attached for the run to be conclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRequirement {
    /// What it is called in reports: `checkpoint`, `eqs_enter or eqs_exit`, a function.
    pub what: String,
    /// Indices into [`AttachPlan::probes`]; empty: nothing can satisfy it here.
    pub any_of: Vec<usize>,
    /// Why nothing can, where nothing can.
    pub reason: Option<String>,
}

/// What to attach, and what that leaves unseen.
#[derive(Clone, Debug, Default)]
pub struct AttachPlan {
    /// How records leave the kernel.
    pub transport: Transport,
    pub cpus: Vec<CpuId>,
    pub probes: Vec<PlannedProbe>,
    pub rows: Vec<PointChoice>,
    pub requirements: Vec<PlannedRequirement>,
    pub blind_spots: Vec<BlindSpot>,
    /// CPUs that get a watchpoint on S; empty: none is planned.
    pub watchpoint_cpus: Vec<CpuId>,
    /// Why nothing can be watched here at all. Empty where something can.
    pub refusals: Vec<Reason>,
}

impl AttachPlan {
    /// The requirements that no attached probe satisfies, each with its reason.
    #[must_use]
    pub fn unmet(&self, is_attached: impl Fn(usize) -> bool) -> Vec<String> {
        self.requirements
            .iter()
            .filter(|requirement| !requirement.any_of.iter().any(|&probe| is_attached(probe)))
            .map(|requirement| match &requirement.reason {
                Some(reason) => format!("{} is not watched: {reason}", requirement.what),
                None => format!("{} is not watched: its probe could not be attached", requirement.what),
            })
            .collect()
    }

    /// The rows as reports have them. `state` tells the id and the proof of an attached probe.
    #[must_use]
    pub fn report(&self, state: impl Fn(usize) -> (Option<ProbeId>, Proof)) -> Vec<PlannedPoint> {
        let chosen = |index: usize| {
            let (probe, proof) = state(index);
            let planned = &self.probes[index].probe;
            ChosenProbe { probe, mechanism: planned.mechanism, symbol: planned.symbol.clone(), proof }
        };
        self.rows
            .iter()
            .map(|row| PlannedPoint {
                point: row.point,
                site: row.site.clone(),
                required: row.required,
                chosen: row.chosen.map(chosen),
                passed_over: row.passed_over.clone(),
            })
            .collect()
    }

    /// How many probes go by this mechanism.
    #[must_use]
    pub fn count(&self, is: impl Fn(Mechanism) -> bool) -> usize {
        self.probes.iter().filter(|planned| is(planned.probe.mechanism)).count()
    }
}
