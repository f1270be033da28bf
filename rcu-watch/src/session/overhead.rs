//! Keeps what the programs cost each CPU within `--max-overhead`: what they cost, and what follows from it.
//!
//! The kernel's own count of run time is taken where `kernel.bpf_stats_enabled` has it counted; it is not by CPU, so
//! that of a program is split by its hits. Elsewhere hits are taken at what they cost where it was measured
//! (docs/performance.md).
//!
//! A time in which something was not watched is not clean: the stream says when it began and ended, the summary how
//! long it was, and the run is inconclusive.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rcu_watch_common::slot;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::{Message, ProbeError};
use rcu_watch_core::units::{CpuId, Nanos, ProbeId};

use super::budget::{Budget, Change, Load, Worth};
use super::{RunningProbe, Session};
use crate::bpf::OwnPrograms;
use crate::clock;
use crate::kernel::plan::WatchpointMode;

/// A second, less what a timer may be early.
const SECOND_NS: u64 = 900_000_000;
/// Nanoseconds that a hit at rest takes, and one that is sent.
const AT_REST_NS: f64 = 100.0;
const SENT_NS: f64 = 400.0;

/// What a run knows of its own cost.
pub(super) struct Overhead {
    budget: Budget,
    percent: f64,
    last: Nanos,
    /// As they were when last asked.
    hits: BTreeMap<(ProbeId, CpuId), Hits>,
    run_time_ns: BTreeMap<ProbeId, u64>,
    given_up: Vec<GivenUp>,
}

#[derive(Clone, Copy, Default)]
struct Hits {
    all: u64,
    at_rest: u64,
}

/// A time in which something was not watched.
struct GivenUp {
    probe: ProbeId,
    since: Nanos,
    /// `None` while it lasts.
    until: Option<Nanos>,
}

impl Overhead {
    pub(super) fn new(percent: f64, now: Nanos) -> Self {
        Self {
            budget: Budget::new(percent / 100.0),
            percent,
            last: now,
            hits: BTreeMap::new(),
            run_time_ns: BTreeMap::new(),
            given_up: Vec::new(),
        }
    }

    /// Run time of a probe's program since this was last asked; `None` where the kernel does not count it, or where
    /// the program is another probe's too.
    fn run_time_since(&mut self, probe: ProbeId, programs: &OwnPrograms) -> Option<u64> {
        if matches!(probe.0, slot::EQS_ENTER | slot::EQS_EXIT) {
            return None;
        }
        let now = programs.stats(probe).ok()?.run_time_ns;
        let before = self.run_time_ns.insert(probe, now).unwrap_or_default();
        now.checked_sub(before).filter(|&run_time| run_time > 0)
    }

    fn end(&mut self, probe: ProbeId, now: Nanos) {
        for time in self.given_up.iter_mut().filter(|time| time.probe == probe && time.until.is_none()) {
            time.until = Some(now);
        }
    }
}

fn worth(probe: &Probe, watchpoints: WatchpointMode) -> Worth {
    match (probe.mechanism, probe.point) {
        // By turns they are on for a hundredth of the time: that is their budget.
        (Mechanism::Watchpoint, _) if watchpoints == WatchpointMode::Always => Worth::Extra,
        (
            Mechanism::Fentry | Mechanism::KprobeFtrace | Mechanism::KprobeInt3,
            Point::PatchedFunction | Point::FtraceFunction | Point::IdleVictim,
        ) => Worth::Handler,
        _ => Worth::Kept,
    }
}

impl Session {
    /// Gives up what is too dear, and takes it back. Asked every second or so, with books that are up to date.
    pub(super) fn keep_budget(&mut self) -> Result<()> {
        let now = clock::now();
        let elapsed_ns = now.0.saturating_sub(self.overhead.last.0);
        if elapsed_ns < SECOND_NS {
            return Ok(());
        }
        self.overhead.last = now;
        let loads = self.loads(elapsed_ns as f64);
        match self.overhead.budget.judge(Duration::from_nanos(now.0), &loads) {
            Some(Change::Shed { probe, cpu, part }) => self.give_up(probe, cpu, part),
            Some(Change::TakeBack { probe }) => self.take_back(probe),
            None => Ok(()),
        }
    }

    /// What each probe cost each CPU since this was last asked.
    fn loads(&mut self, elapsed_ns: f64) -> Vec<Load> {
        let Self { probes, books, programs, overhead, watch, .. } = self;
        let mut loads = Vec::new();
        for running in probes.iter() {
            let mut of_probe = Vec::new();
            for (cpu, counters) in books.of(running.id) {
                let now = Hits { all: counters.hits, at_rest: counters.at_rest };
                let before = overhead.hits.insert((running.id, cpu), now).unwrap_or_default();
                of_probe.push((cpu, now.all - before.all, now.at_rest - before.at_rest));
            }
            let all: u64 = of_probe.iter().map(|(_, hits, _)| hits).sum();
            let run_time_ns = overhead.run_time_since(running.id, programs);
            for (cpu, hits, at_rest) in of_probe {
                let cost_ns = match run_time_ns {
                    Some(run_time) => run_time as f64 * hits as f64 / all.max(1) as f64,
                    None => at_rest as f64 * AT_REST_NS + (hits - at_rest) as f64 * SENT_NS,
                };
                loads.push(Load {
                    probe: running.id,
                    worth: worth(&running.probe, watch.mode()),
                    cpu,
                    hits_per_second: hits as f64 * 1e9 / elapsed_ns,
                    part: cost_ns / elapsed_ns,
                });
            }
        }
        loads
    }

    fn give_up(&mut self, probe: ProbeId, cpu: CpuId, part: f64) -> Result<()> {
        if probe.0 == slot::WATCH_STATE {
            self.close_watchpoints();
        } else if let Err(error) = self.rest(probe) {
            self.overhead.budget.is_back(probe);
            return self.tell_refusal(probe, error);
        }
        self.overhead.given_up.push(GivenUp { probe, since: clock::now(), until: None });
        let (cost, most) = (part * 100.0, self.overhead.percent);
        let because = format!(
            "given up for now: the programs take {cost:.2} % of cpu {cpu}, and --max-overhead is {most} %"
        );
        self.tell_attachment(probe, &because)
    }

    fn take_back(&mut self, probe: ProbeId) -> Result<()> {
        if probe.0 == slot::WATCH_STATE {
            if let Err(error) = self.reopen_watchpoints() {
                return self.tell_refusal(probe, error);
            }
        } else {
            // The last handler may have left meanwhile: then nothing is to be watched there.
            let has_handlers = |running: &RunningProbe| {
                !running.probe.handlers.is_empty() || running.probe.point == Point::IdleVictim
            };
            if !self.probes.iter().any(|running| running.id == probe && has_handlers(running)) {
                return Ok(());
            }
            if let Err(error) = self.wake(probe) {
                return self.tell_refusal(probe, error);
            }
        }
        self.overhead.end(probe, clock::now());
        self.tell_attachment(probe, "taken back, to see whether it is still too dear")
    }

    fn tell_refusal(&mut self, probe: ProbeId, error: String) -> Result<()> {
        let symbol = self.symbol(probe);
        self.tell(clock::now(), None, Message::ProbeError(ProbeError { probe: Some(probe), symbol, error }))
    }

    fn symbol(&self, probe: ProbeId) -> String {
        let running = self.probes.iter().find(|running| running.id == probe);
        running.map_or_else(String::new, |running| running.probe.symbol.clone())
    }

    /// It is attached again, or nothing is there any more that it would have to watch.
    pub(super) fn is_watched_again(&mut self, probe: ProbeId) {
        self.overhead.budget.is_back(probe);
        self.overhead.end(probe, clock::now());
    }

    /// What was not watched for a time, a sentence each.
    pub(super) fn given_up(&self) -> Vec<String> {
        let now = clock::now();
        let mut times: BTreeMap<ProbeId, (u32, u64)> = BTreeMap::new();
        for time in &self.overhead.given_up {
            let (count, ns) = times.entry(time.probe).or_default();
            *count += 1;
            *ns += time.until.unwrap_or(now).0.saturating_sub(time.since.0);
        }
        let sentence = |(probe, (count, ns)): (ProbeId, (u32, u64))| {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            format!(
                "{} was not watched for {:.1} s, given up {times} to stay below --max-overhead {} %; allow more",
                self.symbol(probe),
                ns as f64 / 1e9,
                self.overhead.percent
            )
        };
        times.into_iter().map(sentence).collect()
    }
}
