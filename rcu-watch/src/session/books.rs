//! The books of a run: what became of each hit, by CPU and probe, and what the kernel skipped.
//!
//! The programs count hits, at_rest, unstable, emitted and lost; the pipeline counts delivered. At the end
//! both must agree to the last record: hits = at_rest + unstable + emitted, and emitted = delivered + lost.

use rcu_watch_core::report::summary::Book;
use rcu_watch_core::report::{Lost, Missed};
use rcu_watch_core::units::{CpuId, ProbeId};

use super::RunningProbe;
use crate::bpf::{BpfError, OwnPrograms, ProbeCounters};

fn symbol_of(probes: &[RunningProbe], id: ProbeId) -> String {
    let running = probes.iter().find(|running| running.id == id);
    running.map_or_else(String::new, |running| running.probe.symbol.clone())
}

/// Reads the counters and remembers what was already said.
#[derive(Default)]
pub(crate) struct Books {
    rows: Vec<Row>,
    missed: Vec<(ProbeId, u64)>,
}

#[derive(Clone, Copy)]
struct Row {
    probe: ProbeId,
    cpu: CpuId,
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
            for (cpu, counters) in programs.counters(running.id)? {
                if counters != ProbeCounters::default() {
                    self.row(running.id, cpu).counters = counters;
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, probe: ProbeId, cpu: CpuId) -> &mut Row {
        let index = self.rows.iter().position(|row| row.probe == probe && row.cpu == cpu);
        let index = index.unwrap_or_else(|| {
            self.rows.push(Row { probe, cpu, counters: ProbeCounters::default(), lost_said: 0 });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// The counters of a probe, by CPU.
    pub(crate) fn of(&self, probe: ProbeId) -> impl Iterator<Item = (CpuId, ProbeCounters)> {
        self.rows.iter().filter(move |row| row.probe == probe).map(|row| (row.cpu, row.counters))
    }

    /// Sum of one counter over the CPUs of a probe.
    pub(crate) fn hits(&self, probe: ProbeId) -> u64 {
        self.rows.iter().filter(|row| row.probe == probe).map(|row| row.counters.hits).sum()
    }

    /// Records of a probe that found no room.
    #[must_use]
    pub(crate) fn lost_of(&self, probe: ProbeId) -> u64 {
        self.rows.iter().filter(|row| row.probe == probe).map(|row| row.counters.lost).sum()
    }

    /// Hits of a probe whose state could not be read in one piece.
    #[must_use]
    pub(crate) fn unstable_of(&self, probe: ProbeId) -> u64 {
        self.rows.iter().filter(|row| row.probe == probe).map(|row| row.counters.unstable).sum()
    }

    /// Hits of a probe that found its CPU at rest.
    #[must_use]
    pub(crate) fn at_rest(&self, probe: ProbeId) -> u64 {
        self.rows.iter().filter(|row| row.probe == probe).map(|row| row.counters.at_rest).sum()
    }

    /// Whether `probe` fired on `cpu`.
    #[must_use]
    pub(crate) fn fired_on(&self, probe: ProbeId, cpu: CpuId) -> bool {
        self.rows.iter().any(|row| row.probe == probe && row.cpu == cpu && row.counters.hits > 0)
    }

    /// What was lost since this was last asked.
    pub(crate) fn newly_lost(&mut self, probes: &[RunningProbe]) -> Vec<(CpuId, Lost)> {
        let mut lost = Vec::new();
        for row in &mut self.rows {
            let count = row.counters.lost - row.lost_said;
            if count > 0 {
                row.lost_said = row.counters.lost;
                let symbol = symbol_of(probes, row.probe);
                lost.push((row.cpu, Lost { probe: row.probe, symbol, count }));
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
            let index = self.missed.iter().position(|(probe, _)| *probe == running.id);
            let index = index.unwrap_or_else(|| {
                self.missed.push((running.id, 0));
                self.missed.len() - 1
            });
            let said = &mut self.missed[index].1;
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
        self.rows.iter().map(|row| row.counters.lost).sum()
    }

    /// Runs that the kernel skipped.
    #[must_use]
    pub(crate) fn missed(&self) -> u64 {
        self.missed.iter().map(|(_, count)| count).sum()
    }

    /// The books themselves, by probe and CPU.
    pub(crate) fn report(
        &self,
        probes: &[RunningProbe],
        delivered: impl Fn(CpuId, ProbeId) -> u64,
    ) -> Vec<Book> {
        let mut books: Vec<Book> = self
            .rows
            .iter()
            .filter_map(|row| {
                let running = probes.iter().find(|running| running.id == row.probe)?;
                let ProbeCounters { hits, at_rest, unstable, emitted, lost } = row.counters;
                Some(Book {
                    probe: row.probe,
                    point: running.probe.point,
                    symbol: running.probe.symbol.clone(),
                    cpu: row.cpu,
                    hits,
                    at_rest,
                    unstable,
                    emitted,
                    delivered: delivered(row.cpu, row.probe),
                    lost,
                })
            })
            .collect();
        books.sort_by_key(|book| (book.probe, book.cpu));
        books
    }

    /// Entries that do not balance, as sentences.
    pub(crate) fn imbalances(&self, delivered: impl Fn(CpuId, ProbeId) -> u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for Row { probe, cpu, counters, lost_said: _ } in &self.rows {
            let ProbeCounters { hits, at_rest, unstable, emitted, lost } = *counters;
            let delivered = delivered(*cpu, *probe);
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
