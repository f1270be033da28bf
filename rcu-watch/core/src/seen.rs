//! One record as sinks need it that draw or count. It is borrowed, so a sink that ignores records costs nothing.

use crate::probe::Point;
use crate::snapshot::Snapshot;
use crate::units::{CpuId, Nanos};

#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub ts: Nanos,
    pub cpu: CpuId,
    pub point: Point,
    pub symbol: &'a str,
    /// W of the code that was probed or interrupted.
    pub watching: bool,
    pub hardirq: bool,
    pub nmi: bool,
    pub pid: u32,
    /// What the probe point defines (`eqs_enter`: the idle state).
    pub arg: u64,
}

impl<'a> Seen<'a> {
    #[must_use]
    pub fn new(hit: &crate::rules::Hit<'a>) -> Self {
        let Snapshot { ts, cpu, task, arg, .. } = *hit.snapshot;
        Self {
            ts,
            cpu,
            point: hit.probe.point,
            symbol: &hit.probe.symbol,
            watching: hit.under_watching,
            hardirq: hit.hardirq_depth > 0,
            nmi: hit.nmi_depth > 0,
            pid: task.pid,
            arg,
        }
    }
}
