//! A snapshot as it is reported: only on request (`--stream all`), one record a probe hit.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::probe::Point;
use crate::report::finding::{StateReport, TaskReport};
use crate::rules::Hit;
use crate::units::{Address, ProbeId, WideNumber};

/// One record in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SnapshotReport {
    /// The probe that sent it.
    pub probe: ProbeId,
    /// What that probe is there to see.
    pub point: Point,
    /// The function or tracepoint that was hit.
    pub symbol: String,
    /// What it read.
    pub state: StateReport,
    /// The task that was current.
    pub task: TaskReport,
    /// Who called the function, where the probe can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Address>,
    /// What the probe point defines (`eqs_enter`: the idle state), else 0. A string: it can pass 2^53.
    pub arg: WideNumber,
    /// Number among all that this probe emitted on this CPU.
    pub cpu_seq: WideNumber,
}

impl SnapshotReport {
    /// Writes a record out.
    #[must_use]
    pub fn new(hit: &Hit<'_>, cpu_seq: u64) -> Self {
        Self {
            probe: hit.snapshot.probe,
            point: hit.probe.point,
            symbol: hit.probe.symbol.clone(),
            state: StateReport::new(hit),
            task: TaskReport::new(&hit.snapshot.task),
            caller: hit.snapshot.caller,
            arg: WideNumber(hit.snapshot.arg),
            cpu_seq: WideNumber(cpu_seq),
        }
    }
}
