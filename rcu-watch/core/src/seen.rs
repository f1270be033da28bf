//! One record as sinks need it that draw or count. It is borrowed, so a sink that ignores records costs nothing.

use crate::probe::Point;
use crate::snapshot::Snapshot;
use crate::units::{CpuId, Nanos};

/// A record, without what only the rules need.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When the probe was hit, `CLOCK_MONOTONIC`.
    pub ts: Nanos,
    /// The CPU that it ran on.
    pub cpu: CpuId,
    /// What the probe is there to see.
    pub point: Point,
    /// The function or tracepoint that was hit.
    pub symbol: &'a str,
    /// W of the code that was probed or interrupted.
    pub watching: bool,
    /// P counts a hard irq.
    pub hardirq: bool,
    /// P counts an NMI, or an exception that counts as one.
    pub nmi: bool,
    /// The current task's thread id, 0 for an idle task.
    pub pid: u32,
    /// What the probe point defines (`eqs_enter`: the idle state).
    pub arg: u64,
}

impl<'a> Seen<'a> {
    /// Takes it out of a hit.
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
