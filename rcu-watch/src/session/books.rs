//! The books of a run: what became of each hit, by CPU and probe, and what the kernel skipped.
//!
//! The programs count hits, at_rest, unstable, emitted and lost; the pipeline counts delivered. At the end
//! both must agree to the last record: hits = at_rest + unstable + emitted, and emitted = delivered + lost.

use std::collections::BTreeMap;

use rcu_watch_core::report::summary::Book;
use rcu_watch_core::report::{Lost, Missed};
use rcu_watch_core::units::{CpuId, ProbeId};

use super::RunningProbe;
pub use crate::bpf::ProbeCounters;
use crate::bpf::{BpfError, OwnPrograms};

/// Reads the counters and remembers what was already said.
#[derive(Default)]
pub struct Books {
    /// Only those with a hit.
    rows: BTreeMap<(ProbeId, CpuId), Row>,
    missed: BTreeMap<ProbeId, u64>,
}

#[derive(Clone, Copy, Default)]
struct Row {
    counters: ProbeCounters,
    lost_said: u64,
}

impl Books {
    /// Reads all counters of `probes` anew.
    ///
    /// # Errors
    /// Where the kernel does not give them.
    pub(crate) fn update(&mut self, programs: &OwnPrograms, probes: &[RunningProbe]) -> Result<(), BpfError> {
        for running in probes {
            self.take(running.id, programs.counters(running.id)?);
        }
        Ok(())
    }

    /// What a probe has counted until now, by CPU.
    pub fn take(&mut self, probe: ProbeId, counters: impl IntoIterator<Item = (CpuId, ProbeCounters)>) {
        for (cpu, counters) in counters {
            if counters != ProbeCounters::default() {
                self.rows.entry((probe, cpu)).or_default().counters = counters;
            }
        }
    }

    fn rows(&self, probe: ProbeId) -> impl Iterator<Item = (CpuId, &Row)> {
        let all = (probe, CpuId(0))..=(probe, CpuId(u32::MAX));
        self.rows.range(all).map(|(&(_, cpu), row)| (cpu, row))
    }

    fn sum(&self, probe: ProbeId, of: impl Fn(&ProbeCounters) -> u64) -> u64 {
        self.rows(probe).map(|(_, row)| of(&row.counters)).sum()
    }

    /// The counters of a probe, by CPU.
    pub fn of(&self, probe: ProbeId) -> impl Iterator<Item = (CpuId, ProbeCounters)> {
        self.rows(probe).map(|(cpu, row)| (cpu, row.counters))
    }

    /// Sum of one counter over the CPUs of a probe.
    #[must_use]
    pub fn hits(&self, probe: ProbeId) -> u64 {
        self.sum(probe, |counters| counters.hits)
    }

    /// Records of a probe that found no room.
    #[must_use]
    pub(crate) fn lost_of(&self, probe: ProbeId) -> u64 {
        self.sum(probe, |counters| counters.lost)
    }

    /// Hits of a probe whose state could not be read in one piece.
    #[must_use]
    pub(crate) fn unstable_of(&self, probe: ProbeId) -> u64 {
        self.sum(probe, |counters| counters.unstable)
    }

    /// Hits of a probe that found its CPU at rest.
    #[must_use]
    pub(crate) fn at_rest(&self, probe: ProbeId) -> u64 {
        self.sum(probe, |counters| counters.at_rest)
    }

    /// Whether `probe` fired on `cpu`.
    #[must_use]
    pub(crate) fn fired_on(&self, probe: ProbeId, cpu: CpuId) -> bool {
        self.rows.get(&(probe, cpu)).is_some_and(|row| row.counters.hits > 0)
    }

    /// What was lost since this was last asked.
    pub(crate) fn newly_lost(&mut self, probes: &[RunningProbe]) -> Vec<(CpuId, Lost)> {
        let probes = by_id(probes);
        let mut lost = Vec::new();
        for (&(probe, cpu), row) in &mut self.rows {
            let count = row.counters.lost - row.lost_said;
            if count > 0 {
                row.lost_said = row.counters.lost;
                let symbol =
                    probes.get(&probe).map_or_else(String::new, |running| running.probe.symbol.clone());
                lost.push((cpu, Lost { probe, symbol, count }));
            }
        }
        lost
    }

    /// What the kernel's recursion guard skipped since this was last asked.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(crate) fn newly_missed(
        &mut self,
        programs: &OwnPrograms,
        probes: &[RunningProbe],
    ) -> Result<Vec<Missed>, BpfError> {
        let mut missed = Vec::new();
        for running in probes {
            let now = programs.stats(running.id)?.missed;
            let said = self.missed.entry(running.id).or_default();
            if now > *said {
                let symbol = running.probe.symbol.clone();
                missed.push(Missed { probe: running.id, symbol, count: now - *said });
                *said = now;
            }
        }
        Ok(missed)
    }

    /// Records that the ring buffer had no room for.
    #[must_use]
    pub(crate) fn lost(&self) -> u64 {
        self.rows.values().map(|row| row.counters.lost).sum()
    }

    /// Runs that the kernel skipped.
    #[must_use]
    pub(crate) fn missed(&self) -> u64 {
        self.missed.values().sum()
    }

    /// The books themselves, by probe and CPU.
    pub(crate) fn report(
        &self,
        probes: &[RunningProbe],
        delivered: impl Fn(CpuId, ProbeId) -> u64,
    ) -> Vec<Book> {
        let probes = by_id(probes);
        let book = |(&(probe, cpu), row): (&(ProbeId, CpuId), &Row)| {
            let running = probes.get(&probe)?;
            let ProbeCounters { hits, at_rest, unstable, emitted, lost } = row.counters;
            Some(Book {
                probe,
                point: running.probe.point,
                symbol: running.probe.symbol.clone(),
                cpu,
                hits,
                at_rest,
                unstable,
                emitted,
                delivered: delivered(cpu, probe),
                lost,
            })
        };
        self.rows.iter().filter_map(book).collect()
    }

    /// Entries that do not balance, as sentences.
    pub(crate) fn imbalances(&self, delivered: impl Fn(CpuId, ProbeId) -> u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for (&(probe, cpu), row) in &self.rows {
            let ProbeCounters { hits, at_rest, unstable, emitted, lost } = row.counters;
            let delivered = delivered(cpu, probe);
            if hits != at_rest + unstable + emitted || emitted != delivered + lost {
                wrong.push(format!(
                    "the books of probe {} on cpu {cpu} do not balance: {hits} hits, {at_rest} at rest, \
                     {unstable} unstable, {emitted} emitted, {delivered} delivered, {lost} lost",
                    probe.0
                ));
            }
        }
        wrong
    }
}

fn by_id(probes: &[RunningProbe]) -> BTreeMap<ProbeId, &RunningProbe> {
    probes.iter().map(|running| (running.id, running)).collect()
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::{Mechanism, Point, Probe};

    use super::*;

    fn running(id: u32) -> RunningProbe {
        let probe = Probe {
            point: Point::PatchedFunction,
            mechanism: Mechanism::Fentry,
            symbol: format!("f{id}"),
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        RunningProbe { id: ProbeId(id), probe }
    }

    fn counters(emitted: u64, lost: u64) -> ProbeCounters {
        ProbeCounters { hits: emitted + 1, at_rest: 1, unstable: 0, emitted, lost }
    }

    #[test]
    fn each_probe_has_its_own_sums_and_only_cpus_with_a_hit_have_a_book() {
        let mut books = Books::default();
        let probes = [running(3), running(4)];
        books.take(ProbeId(3), [(CpuId(0), counters(5, 0)), (CpuId(4095), counters(7, 2))]);
        books.take(ProbeId(4), [(CpuId(0), ProbeCounters::default()), (CpuId(1), counters(1, 0))]);
        assert_eq!([3, 4, 5].map(|id| books.hits(ProbeId(id))), [14, 2, 0]);
        assert_eq!((books.lost_of(ProbeId(3)), books.lost()), (2, 2));
        assert!(books.fired_on(ProbeId(3), CpuId(4095)) && !books.fired_on(ProbeId(4), CpuId(0)));
        let report = books.report(&probes, |_, _| 0);
        let places: Vec<_> = report.iter().map(|book| (book.probe.0, book.cpu.0)).collect();
        assert_eq!(places, [(3, 0), (3, 4095), (4, 1)]);
    }

    #[test]
    fn what_was_lost_is_told_once() {
        let mut books = Books::default();
        books.take(ProbeId(3), [(CpuId(9), counters(7, 2))]);
        let lost = books.newly_lost(&[running(3)]);
        assert_eq!(
            (lost.len(), lost[0].0, lost[0].1.count, lost[0].1.symbol.as_str()),
            (1, CpuId(9), 2, "f3")
        );
        assert!(books.newly_lost(&[running(3)]).is_empty());
        books.take(ProbeId(3), [(CpuId(9), counters(8, 3))]);
        assert_eq!(books.newly_lost(&[running(3)])[0].1.count, 1);
    }

    #[test]
    fn a_book_that_does_not_balance_is_named() {
        let mut books = Books::default();
        books.take(ProbeId(3), [(CpuId(9), counters(7, 2)), (CpuId(10), counters(4, 0))]);
        let wrong = books.imbalances(|cpu, _| if cpu == CpuId(9) { 5 } else { 3 });
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("probe 3 on cpu 10"), "{}", wrong[0]);
    }
}
