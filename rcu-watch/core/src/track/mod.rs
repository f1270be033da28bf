//! The model at run time: where each CPU is between its idle visits, and what may come next.
//!
//! A snapshot is judged by itself; this follows the stream. Two things tell where a CPU is: what the kernel
//! declares (the idle tracepoint's two ends) and what it writes (S, seen by a watchpoint). The hard thing is
//! what the stream does not hold: records that were lost, runs that found the CPU at rest or S moving. So the
//! programs number every run of theirs that tells anything, sent or not, and two records are compared only
//! where their numbers follow each other; anything else makes it start over. What it then says is info: a run
//! that the kernel itself skipped has no number.

use alloc::vec::Vec;

use super::finding::{RuleId, Severity, Verdict};
use super::model::generation::Base;
use super::probe::{Mechanism, Point};
use super::rules::Hit;
use super::units::{CpuId, StateWord};

/// Where a CPU is, by what was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Known {
    /// Nothing was seen yet, or runs are missing since.
    #[default]
    Nothing,
    /// In the kernel, or in user code that is no EQS: only an entry may come.
    Watched,
    /// In an EQS, or in an irq out of one: only an exit may come.
    Eqs,
}

/// What a hit says about its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Enters,
    Leaves,
    /// A task switches.
    Switches,
}

impl Passage {
    /// `None` where the hit says nothing, as a write to S that leaves W as it was.
    #[must_use]
    pub(crate) fn of(hit: &Hit<'_>) -> Option<Self> {
        match (hit.probe.mechanism, hit.probe.point) {
            // The trap comes after the write: M=1 is on top of an EQS just entered, an even one below NI left it.
            (Mechanism::Watchpoint, _) => match (hit.base, hit.depth) {
                (Base::Eqs, 1) => Some(Self::Enters),
                (Base::Window, _) => Some(Self::Leaves),
                _ => None,
            },
            (_, Point::EqsEnter) => Some(Self::Enters),
            (_, Point::EqsExit) => Some(Self::Leaves),
            (_, Point::Checkpoint) => Some(Self::Switches),
            _ => None,
        }
    }
}

/// One CPU's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Track {
    /// Number of the run that was seen last.
    last: u32,
    /// By the idle tracepoint.
    declared: Known,
    /// By the watchpoint, with S as it read it.
    written: Known,
    written_state: StateWord,
}

/// Every CPU's place.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    cpus: Vec<Track>,
    followed: u64,
    restarts: u64,
}

impl Tracks {
    /// What may come next on `cpu`, by its idle tracepoint.
    #[must_use]
    pub fn known(&self, cpu: CpuId) -> Known {
        self.cpus.get(cpu.0 as usize).map_or(Known::Nothing, |track| track.declared)
    }

    /// Records that were compared with the one before them.
    #[must_use]
    pub const fn followed(&self) -> u64 {
        self.followed
    }

    /// How often a CPU's place was forgotten, because the stream lacks runs.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Takes the next hit of its CPU; says what could not follow the one before.
    pub fn follow(&mut self, hit: &Hit<'_>) -> Option<Verdict> {
        let number = hit.snapshot.track_seq?.get();
        if hit.snapshot.synthetic || hit.is_old_counting() {
            return None;
        }
        let cpu = hit.snapshot.cpu.0 as usize;
        if cpu >= self.cpus.len() {
            self.cpus.resize(cpu + 1, Track::default());
        }
        let track = &mut self.cpus[cpu];
        if track.last.wrapping_add(1) == number {
            self.followed += 1;
        } else {
            self.restarts += u64::from(track.last != 0);
            *track = Track::default();
        }
        track.last = number;
        track.follow(hit)
    }
}

impl Track {
    fn follow(&mut self, hit: &Hit<'_>) -> Option<Verdict> {
        let step = Passage::of(hit)?;
        if hit.probe.mechanism == Mechanism::Watchpoint {
            let because = self.write_that_cannot_be(step, hit);
            self.written = next(self.written, step);
            self.written_state = hit.snapshot.rcu.state;
            return because.map(told);
        }
        let because = match (self.declared, step) {
            (Known::Eqs, Passage::Enters) => {
                Some("the CPU said twice in a row that it goes idle: only an exit could come")
            }
            (Known::Watched, Passage::Leaves) => {
                Some("the CPU said twice in a row that it leaves idle: only an entry could come")
            }
            (Known::Eqs, Passage::Switches) => Some(
                "a task runs on a CPU that went idle and did not say that it left: only an exit could come",
            ),
            _ => None,
        };
        self.declared = next(self.declared, step);
        because.map(told)
    }

    /// Two writes the same way in a row are one that was not seen, as S then shows: a watchpoint may be off in
    /// between. Where S did not move, there was none.
    fn write_that_cannot_be(&self, step: Passage, hit: &Hit<'_>) -> Option<&'static str> {
        let moved = hit.snapshot.rcu.state.0.wrapping_sub(self.written_state.0);
        match (self.written, step) {
            // Out of the first trap and into the second: S moved by those two alone.
            (Known::Eqs, Passage::Enters) if moved == 2 * hit.kernel.generation.layout().step => {
                Some("S was written in an EQS, and the CPU is in it as before: only an exit could come")
            }
            (Known::Watched, Passage::Leaves) if moved == 0 => {
                Some("S was written on the way out of an EQS, and is as before: only an entry could come")
            }
            _ => None,
        }
    }
}

const fn told(because: &'static str) -> Verdict {
    Verdict { rule: RuleId::UncountedContext, severity: Severity::Info, because }
}

const fn next(before: Known, step: Passage) -> Known {
    match step {
        Passage::Enters => Known::Eqs,
        Passage::Leaves => Known::Watched,
        // It has left, unseen. Before the first transition nothing is known, whatever runs.
        Passage::Switches if matches!(before, Known::Eqs) => Known::Nothing,
        Passage::Switches => before,
    }
}

#[cfg(test)]
mod tests;
