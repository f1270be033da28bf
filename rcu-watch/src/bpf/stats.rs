//! What is counted of our programs: the books by the programs themselves; by the kernel, the runs that its
//! recursion guard skipped, and run time.

use std::os::fd::AsFd as _;

use rcu_watch_common::counter::ProbeState;
use rcu_watch_common::record::SnapshotRecord;
use rcu_watch_common::slot;
use rcu_watch_core::units::{CpuId, ProbeId};

use super::{BpfError, OwnPrograms, failed, maps};
use crate::sys::bpf::program::{ProgramCounters, counters_of};

/// The books of one probe on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounters {
    /// Runs of the program.
    pub hits: u64,
    /// Runs that found the state the probe expects and sent nothing.
    pub at_rest: u64,
    /// Runs dropped because S moved while it was read, or because the state could not be read.
    pub unstable: u64,
    /// Runs that tried to send a record.
    pub emitted: u64,
    /// Records for which the ring buffer had no room.
    pub lost: u64,
}

impl From<ProbeState> for ProbeCounters {
    fn from(state: ProbeState) -> Self {
        let ProbeState { at_rest, turned, unstable, emitted, lost, .. } = state;
        Self { hits: at_rest + turned, at_rest, unstable, emitted, lost }
    }
}

/// The kernel's own counters of one program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProgramStats {
    /// Runs that the recursion guard skipped. Before 5.12, and for kprobes before about 6.7, nobody counts them.
    pub missed: u64,
    /// Nanoseconds; 0 unless `kernel.bpf_stats_enabled` is set.
    pub run_time_ns: u64,
}

impl OwnPrograms {
    /// The books of one probe, by CPU.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub(crate) fn counters(&self, probe: ProbeId) -> Result<Vec<(CpuId, ProbeCounters)>, BpfError> {
        let books = maps::books(&self.bpf, probe)?;
        Ok(books.into_iter().map(|(cpu, state)| (cpu, state.into())).collect())
    }

    /// Records that CPUs kept and did not come to send. To be asked once nothing counts any more.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub(crate) fn kept(&self) -> Result<Vec<SnapshotRecord>, BpfError> {
        maps::kept(&self.bpf)
    }

    /// Prints what the programs said since, if [`StreamOptions::logs`] asked for it.
    ///
    /// [`StreamOptions::logs`]: super::StreamOptions::logs
    pub(crate) fn flush_log(&mut self) {
        self.log.flush();
    }

    /// Writes that watchpoints saw, whether their program ran or not. More than its hits: the rest was missed.
    #[must_use]
    pub(crate) fn watched_writes(&self) -> u64 {
        self.watchpoints.writes()
    }

    /// The kernel's counters of the program behind `probe`.
    ///
    /// # Errors
    /// Where the kernel does not give them.
    pub(crate) fn stats(&self, probe: ProbeId) -> Result<ProgramStats, BpfError> {
        if probe.0 == slot::WATCH_STATE {
            return self.watchpoint_stats(probe);
        }
        let Some(attached) = self.attached.iter().find(|attached| attached.probe == probe) else {
            return Ok(ProgramStats::default());
        };
        let kernels = self.kernels_counters(&attached.program)?;
        Ok(ProgramStats { missed: kernels.recursion_misses.unwrap_or(0), run_time_ns: kernels.run_time_ns })
    }

    /// The kernel counts no skipped run of a perf event's program, but the event counts every write.
    fn watchpoint_stats(&self, probe: ProbeId) -> Result<ProgramStats, BpfError> {
        // In this order: a write in between is a hit more, and not a run that was missed.
        let writes = self.watched_writes();
        let hits: u64 = self.counters(probe)?.iter().map(|(_, counters)| counters.hits).sum();
        let is_attached = self.attached.iter().find(|attached| attached.probe == probe);
        let run_time_ns = match is_attached {
            Some(attached) => self.kernels_counters(&attached.program)?.run_time_ns,
            None => 0,
        };
        Ok(ProgramStats { missed: writes.saturating_sub(hits), run_time_ns })
    }

    fn kernels_counters(&self, name: &str) -> Result<ProgramCounters, BpfError> {
        let program = self.bpf.program(name).ok_or_else(|| BpfError::Missing(name.to_owned()))?;
        counters_of(program.fd().map_err(failed(name))?.as_fd())
            .map_err(|source| BpfError::Syscall { call: "bpf(BPF_OBJ_GET_INFO_BY_FD)", source })
    }
}
