//! The second phase: a probe of our own on each suspect, which reads the state. Its word is the verdict.
//!
//! Functions go in batches, as many as there are programs; each batch has its own BPF object, so that its books
//! are its own and nothing of the last one is on the way. What a probe reads takes the way of every other
//! record: ring, decode, rules. A probe in an EQS is itself the hazard that it looks for: it stays for seconds,
//! and its program is kept for a grace time after that, also where the batch ends by an error.

use std::time::{Duration, Instant};

use anyhow::Result;
use rcu_watch_common::slot;
use rcu_watch_core::calibration::Calibrated;
use rcu_watch_core::pipeline::{Finding, Pipeline, RuleCount};
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::Message;
use rcu_watch_core::report::audit::Observed;
use rcu_watch_core::report::finding::StateReport;
use rcu_watch_core::report::summary::{Book, FindingTotal, RuleCoverage, RuleStatus, Totals};
use rcu_watch_core::rules::RULES;
use rcu_watch_core::stream::{Filter, Host, StreamListener};
use rcu_watch_core::units::{Address, CpuId, Nanos, ProbeId};
use rcu_watch_core::verdict;
use rcu_watch_core::{RuleId, Severity};

use super::stop::Stop;
use crate::bpf::attach::AttachSite;
use crate::bpf::{OwnPrograms, Reader, StreamOptions};
use crate::clock;
use crate::kernel::Facts;
use crate::kernel::candidate::{Function, type_id};
use crate::kernel::facts::FtraceValidation;
use crate::kernel::feature::TransportChoice;
use crate::kernel::layout::Layout;
use crate::kernel::points;
use crate::outlet;
use crate::session::RunningProbe;
use crate::session::books::Books;
use crate::session::start::{load_calibrated, model};
use crate::session::symbols::Symbols;
use crate::sink::Stream;

/// Between two looks at the ring.
const LOOK: Duration = Duration::from_millis(100);

/// Many probes may fire in every interrupt.
const RING_BYTES: u32 = 4 << 20;

/// Functions that are probed at a time. On a kernel where one of them needs a kprobe all may.
pub(crate) const BATCH: usize = if slot::FENTRY_COUNT < slot::KPROBE_COUNT {
    slot::FENTRY_COUNT as usize
} else {
    slot::KPROBE_COUNT as usize
};

/// What became of one function of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Probed {
    Observed(Observed),
    /// Why none is to sit on it.
    No(String),
    /// Why the kernel refused one that it should have allowed.
    Refused(String),
}

/// Why there is no probe.
enum NoProbe {
    /// None is to sit there.
    Unfit(String),
    /// One should have been possible.
    Refused(String),
}

/// What the batches came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub totals: Totals,
    pub books: Vec<Book>,
    pub findings: Vec<FindingTotal>,
    /// What makes the run inconclusive.
    pub reasons: Vec<String>,
    /// Probes that the kernel refused.
    refused: usize,
    rules: [RuleCount; RuleId::ALL.len()],
}

/// Attaches, watches and detaches batch after batch.
pub(crate) struct Prober {
    layout: Layout,
    calibration: Calibrated,
    options: StreamOptions,
    /// Loaded to calibrate; the first batch uses them.
    loaded: Option<(OwnPrograms, Reader)>,
    cpus: Vec<CpuId>,
    pub sums: Sums,
}

impl Prober {
    /// Loads the programs, which log or do not, and calibrates the layout.
    ///
    /// # Errors
    /// Where this kernel does not let us, or its layout is contradicted.
    pub(crate) fn start(facts: &Facts, cpus: &[CpuId], logs: bool) -> Result<Self> {
        let unsupported = |error: &dyn std::error::Error| verdict::Unsupported(error.to_string());
        let mut layout = *facts.layout.as_ref().map_err(|error| unsupported(error))?;
        let transport = facts.features.transport(TransportChoice::Auto).unwrap_or_default();
        let options = StreamOptions { transport, ring_bytes: RING_BYTES, emit_at_rest: false, logs };
        let (programs, reader, calibration) = load_calibrated(&mut layout, options, cpus)?;
        Ok(Self {
            options,
            layout,
            calibration,
            loaded: Some((programs, reader)),
            cpus: cpus.to_vec(),
            sums: Sums::default(),
        })
    }

    #[must_use]
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    #[must_use]
    pub(crate) const fn calibration(&self) -> &Calibrated {
        &self.calibration
    }

    /// Probes up to [`BATCH`] functions for `time`, and says of each what was seen, in their order.
    ///
    /// # Errors
    /// Where the stream cannot be written or the kernel does not answer.
    pub(crate) fn batch(
        &mut self,
        facts: &Facts,
        functions: &[&str],
        time: Duration,
        way: &mut Way<'_>,
    ) -> Result<Vec<Probed>> {
        let _live = outlet::live();
        let (programs, reader) = match self.loaded.take() {
            Some(loaded) => loaded,
            None => OwnPrograms::load(self.layout.state, self.options)?,
        };
        let mut batch = Batch {
            programs,
            reader,
            pipeline: Pipeline::new(model(&self.layout, &self.calibration), Vec::new()),
            books: Books::default(),
            probes: Vec::new(),
            states: Vec::new(),
            first_id: self.sums.findings.len() as u32,
        };
        batch.programs.start_counting(&self.cpus)?;
        batch.programs.expect(functions.iter().map(|function| attach_site(facts, function)));
        let mut attached = Vec::new();
        for (index, function) in functions.iter().enumerate() {
            attached.push(batch.attach(facts, function));
            (way.progress)(index as u64, functions.len() as u64, true);
            if way.stop.is_asked() {
                break;
            }
        }
        way.symbols.outdate();
        let start = Instant::now();
        while start.elapsed() < time && !way.stop.wait(LOOK) {
            batch.drain(way)?;
            (way.progress)(start.elapsed().as_millis() as u64, time.as_millis() as u64, false);
        }
        let seconds = start.elapsed().as_secs_f64();
        batch.finish(way, &mut self.sums)?;
        self.sums.refused += attached.iter().filter(|one| matches!(one, Err(NoProbe::Refused(_)))).count();
        Ok(attached
            .into_iter()
            .map(|attached| match attached {
                Ok(id) => Probed::Observed(batch.observed(id, seconds)),
                Err(NoProbe::Unfit(reason)) => Probed::No(reason),
                Err(NoProbe::Refused(reason)) => Probed::Refused(reason),
            })
            .collect())
    }
}

/// Whom a batch talks to.
pub(crate) struct Way<'a> {
    pub stream: &'a mut Stream,
    pub symbols: &'a mut Symbols,
    pub stop: &'a mut Stop,
    /// Whether what is found is told, or only looked for.
    pub tell: bool,
    /// Done, of all; whether probes are still being attached.
    pub progress: &'a mut dyn FnMut(u64, u64, bool),
}

struct Batch {
    programs: OwnPrograms,
    reader: Reader,
    pipeline: Pipeline,
    books: Books,
    probes: Vec<RunningProbe>,
    /// Of the first call with RCU off.
    states: Vec<(ProbeId, StateReport)>,
    /// Findings of the batches before.
    first_id: u32,
}

impl Batch {
    fn attach(&mut self, facts: &Facts, name: &str) -> Result<ProbeId, NoProbe> {
        let site = facts.handled.site(name);
        let function = Function { name, site };
        let mut mechanisms = Vec::new();
        if function.fentry(facts, false).is_yes() {
            mechanisms.push(Mechanism::Fentry);
        }
        match function.kprobe(facts) {
            Ok(mechanism) => mechanisms.push(mechanism),
            Err(reason) if mechanisms.is_empty() => return Err(NoProbe::Unfit(reason.to_string())),
            Err(_) => {}
        }
        let mut refusal = String::new();
        let is_livepatched = site.is_some_and(crate::kernel::attribution::Site::is_livepatched);
        for mechanism in mechanisms {
            let is_int3 = mechanism == Mechanism::KprobeInt3;
            let offset = if is_int3 { function.kprobe_offset(facts) } else { 0 };
            let place = AttachSite { offset, ..attach_site(facts, name) };
            let probe = Probe {
                point: if is_livepatched {
                    Point::PatchedFunction
                } else if site.is_some_and(|site| !site.handlers.is_empty()) {
                    Point::FtraceFunction
                } else {
                    Point::IdleVictim
                },
                mechanism,
                symbol: name.to_owned(),
                handlers: site.map(|site| site.handlers.clone()).unwrap_or_default(),
                is_rcu_internal: points::is_rcu_internal(name),
                ftrace_validates_rcu: facts.ftrace_validates_rcu == FtraceValidation::Yes,
            };
            match self.programs.attach(probe.point, mechanism, place) {
                Ok(id) => {
                    self.pipeline.set_probe(id, probe.clone());
                    self.probes.push(RunningProbe { id, probe });
                    return Ok(id);
                }
                Err(error) => refusal = first_line(&format!("{:#}", anyhow::Error::new(error))),
            }
        }
        Err(NoProbe::Refused(refusal))
    }

    /// Takes all that the ring holds now; how many records that were.
    fn drain(&mut self, way: &mut Way<'_>) -> Result<usize> {
        let Self { programs, reader, pipeline, states, first_id, .. } = self;
        let Way { stream, symbols, tell, .. } = way;
        let filter = Filter { silent: !*tell, ..Filter::default() };
        let host = SuspectHost { symbols, states };
        let mut listener = StreamListener::new(*stream, host, &filter).after(*first_id);
        let drained = reader.drain(reader.room(), |record| pipeline.push(record, &mut listener));
        let heard = listener.take_error();
        programs.flush_log();
        heard?;
        Ok(drained.records)
    }

    /// Detaches, takes what is on the way, and adds it all up.
    fn finish(&mut self, way: &mut Way<'_>, sums: &mut Sums) -> Result<()> {
        // Skipped runs can only be asked of programs that are still attached.
        let missed = self.books.newly_missed(&self.programs, &self.probes)?;
        self.programs.detach_all()?;
        self.programs.settle();
        while self.drain(way)? > 0 {}
        self.books.update(&self.programs, &self.probes)?;
        for running in &self.probes {
            self.pipeline.count_at_rest(running.id, self.books.at_rest(running.id));
        }
        for missed in missed {
            way.stream.send(clock::now(), None, Message::Missed(missed))?;
        }
        for (cpu, lost) in self.books.newly_lost(&self.probes) {
            way.stream.send(clock::now(), Some(cpu), Message::Lost(lost))?;
        }
        self.add_to(sums, way.tell);
        Ok(())
    }

    fn add_to(&self, sums: &mut Sums, tell: bool) {
        let delivered = |cpu: CpuId, probe: ProbeId| self.pipeline.delivered(cpu, probe);
        let books = self.books.report(&self.probes, delivered);
        sums.totals += verdict::totals(&books, self.books.missed(), self.pipeline.undecodable());
        sums.books.extend(books);
        sums.reasons.extend(self.books.imbalances(delivered));
        for (&rule, sum) in RuleId::ALL.iter().zip(&mut sums.rules) {
            let count = self.pipeline.rule_count(rule);
            sum.judged += count.judged;
            sum.fired += if tell { count.fired } else { 0 };
        }
        sums.findings.extend(verdict::findings(&self.pipeline, self.first_id, |_| tell));
    }

    fn observed(&self, id: ProbeId, seconds: f64) -> Observed {
        let count = |rule| -> u64 {
            let of_rule = self.pipeline.totals().iter().filter(|t| t.probe == Some(id) && t.rule == rule);
            // An info is a doubt and not an observation.
            of_rule.filter(|total| total.severity > Severity::Info).map(|total| total.count).sum()
        };
        let probe = self.pipeline.probe(id);
        let unwatched = RULES.iter().filter(|rule| rule.tells_unwatched);
        Observed {
            mechanism: probe.map_or(Mechanism::Fentry, |probe| probe.mechanism),
            calls: self.books.hits(id),
            // One call with a livepatch and a kprobe on it may break two rules.
            unwatched: unwatched.map(|rule| count(rule.id)).max().unwrap_or(0),
            seconds,
            state: self.states.iter().find(|(probe, _)| *probe == id).map(|(_, state)| state.clone()),
            handlers: probe.map_or_else(Vec::new, |probe| probe.handlers.clone()),
        }
    }
}

/// The start of a function.
fn attach_site<'a>(facts: &Facts, name: &'a str) -> AttachSite<'a> {
    AttachSite { symbol: name, offset: 0, type_id: type_id(facts, name) }
}

/// Of an error that brings the verifier's log with it.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    line.split(" Verifier output").next().unwrap_or(line).to_owned()
}

/// Names addresses, and keeps the first state of each probe.
struct SuspectHost<'a> {
    symbols: &'a mut Symbols,
    states: &'a mut Vec<(ProbeId, StateReport)>,
}

impl Host for SuspectHost<'_> {
    fn name(&mut self, address: Address) -> Option<String> {
        self.symbols.name(address)
    }

    fn found(&mut self, finding: &Finding<'_>) {
        let probe = finding.hit.snapshot.probe;
        if finding.verdict.rule.row().tells_unwatched && self.states.iter().all(|(known, _)| *known != probe)
        {
            self.states.push((probe, StateReport::new(&finding.hit)));
        }
    }

    fn now(&self, _latest: Nanos) -> Nanos {
        clock::now()
    }
}

impl Sums {
    /// Rules that direct probes on functions judge, and that they are all there was.
    #[must_use]
    pub(crate) fn rules(&self) -> Vec<RuleStatus> {
        RULES
            .iter()
            .zip(&self.rules)
            .map(|(rule, count)| {
                // What a probe on a function that nobody else is on would have told.
                let is_audited = rule.tells_unwatched && rule.needs.contains(&Point::IdleVictim);
                let (status, reason) = match count.judged {
                    0 if is_audited => (RuleCoverage::NotExercised, Some("no function was seen to run")),
                    0 => (RuleCoverage::Blind, Some("only suspects were probed")),
                    _ => (RuleCoverage::Judged, None),
                };
                let reason = reason.map(str::to_owned);
                RuleStatus { rule: rule.id, name: rule.name.into(), status, reason, count: count.fired }
            })
            .collect()
    }

    /// Why what was not found may have been there. Runs that the kernel skipped are none: they are nested in a
    /// run of the same program on the same CPU, which was counted.
    #[must_use]
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = self.reasons.clone();
        if self.totals.lost > 0 {
            doubts.push(format!("{} records were lost", self.totals.lost));
        }
        if self.refused > 0 {
            doubts.push(format!("the kernel refused {} probes", self.refused));
        }
        if self.totals.undecodable > 0 {
            doubts.push(format!("{} records could not be decoded", self.totals.undecodable));
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_without_the_verifiers_log() {
        let error =
            "program x: BPF_PROG_LOAD returned EACCES. Verifier output: 0: (b7) r2\n1: (85) call\n: EACCES";
        assert_eq!(first_line(error), "program x: BPF_PROG_LOAD returned EACCES.");
        assert_eq!(first_line("busy"), "busy");
    }

    #[test]
    fn a_refused_probe_casts_doubt_on_a_clean_run() {
        assert!(Sums::default().doubts().is_empty());
        assert_eq!(Sums { refused: 2, ..Sums::default() }.doubts(), ["the kernel refused 2 probes"]);
    }
}
