//! Each CPU's own count of its records, lost ones included.
//!
//! Every probe numbers what it emits on each CPU, and a record that the ring buffer had no room for keeps its
//! number: a jump in that number is loss, and where it lies is known to one record.

use alloc::vec::Vec;

use super::snapshot::Snapshot;
use super::units::{CpuId, ProbeId};

/// Numbers missing between two records of one probe on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The CPU whose records are missing.
    pub cpu: CpuId,
    /// The probe that sent them.
    pub probe: ProbeId,
    /// Records that were lost there, by the numbers that are left out.
    pub missing: u64,
}

/// Where a record lies in its CPU's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    /// The CPU's own number, lost records counted.
    pub cpu_seq: u64,
    pub gap: Option<Gap>,
}

/// Counts of one CPU.
#[derive(Clone, Debug, Default)]
struct Lane {
    next_cpu_seq: u64,
    probes: Vec<ProbeLane>,
}

/// Counts of one probe on one CPU.
#[derive(Clone, Copy, Debug, Default)]
struct ProbeLane {
    next_seq: u64,
    delivered: u64,
}

/// The streams of all CPUs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    lanes: Vec<Lane>,
}

impl Order {
    /// Takes the next record as it was delivered. Allocates only for the first of a CPU or probe.
    pub(crate) fn place(&mut self, snapshot: &Snapshot<'_>) -> StreamPosition {
        let cpu = snapshot.cpu.0 as usize;
        let probe = snapshot.probe.0 as usize;
        if cpu >= self.lanes.len() {
            self.lanes.resize_with(cpu + 1, Lane::default);
        }
        let lane = &mut self.lanes[cpu];
        if probe >= lane.probes.len() {
            lane.probes.resize(probe + 1, ProbeLane::default());
        }
        let counts = &mut lane.probes[probe];
        counts.delivered += 1;
        // A number from behind (a restarted counter) is no loss.
        let missing = snapshot.probe_seq.saturating_sub(counts.next_seq);
        counts.next_seq = snapshot.probe_seq.wrapping_add(1).max(counts.next_seq);
        let cpu_seq = lane.next_cpu_seq.saturating_add(missing);
        lane.next_cpu_seq = cpu_seq.saturating_add(1);
        let gap = (missing > 0).then_some(Gap { cpu: snapshot.cpu, probe: snapshot.probe, missing });
        StreamPosition { cpu_seq, gap }
    }

    /// Records of `probe` that were delivered from `cpu`.
    #[must_use]
    pub(crate) fn delivered(&self, cpu: CpuId, probe: ProbeId) -> u64 {
        self.lane(cpu, probe).map_or(0, |counts| counts.delivered)
    }

    fn lane(&self, cpu: CpuId, probe: ProbeId) -> Option<&ProbeLane> {
        self.lanes.get(cpu.0 as usize)?.probes.get(probe.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cpu: u32, probe: u32, probe_seq: u64) -> Snapshot<'static> {
        Snapshot { cpu: CpuId(cpu), probe: ProbeId(probe), probe_seq, ..Snapshot::default() }
    }

    #[test]
    fn probes_of_one_cpu_share_its_numbers_and_cpus_do_not() {
        let mut order = Order::default();
        assert_eq!(order.place(&record(0, 0, 0)).cpu_seq, 0);
        assert_eq!(order.place(&record(0, 1, 0)).cpu_seq, 1);
        assert_eq!(order.place(&record(1, 0, 0)).cpu_seq, 0);
        assert_eq!(order.delivered(CpuId(0), ProbeId(1)), 1);
        assert_eq!(order.delivered(CpuId(9), ProbeId(9)), 0);
    }

    #[test]
    fn a_lost_record_keeps_its_number() {
        let mut order = Order::default();
        order.place(&record(0, 0, 0));
        let place = order.place(&record(0, 0, 4));
        assert_eq!(place.cpu_seq, 4);
        assert_eq!(place.gap, Some(Gap { cpu: CpuId(0), probe: ProbeId(0), missing: 3 }));
        assert_eq!(order.place(&record(0, 0, 5)).gap, None);
    }

    #[test]
    fn a_loss_before_the_first_delivery_counts() {
        assert_eq!(Order::default().place(&record(0, 0, 2)).gap.map(|gap| gap.missing), Some(2));
    }

    #[test]
    fn a_number_from_behind_is_no_loss() {
        let mut order = Order::default();
        order.place(&record(0, 0, u64::MAX));
        assert_eq!(order.place(&record(0, 0, 0)).gap, None);
    }
}
