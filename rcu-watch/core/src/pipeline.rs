//! The whole way from a record's bytes to findings: the same code live, over a recording and in the tests.
//!
//! `decode -> order -> rules -> fold`. Whoever listens gets the first break of each kind at once, in full; what
//! repeats is counted here, exactly. A record costs no allocation unless it is the first of its CPU, probe or
//! kind of break.

use alloc::vec::Vec;

use super::condition::{Condition, Looked};
use super::decode::{DecodeError, decode};
use super::finding::{RuleId, Severity};
use super::fold::{FindingKind, Fold};
use super::model::kernel::KernelModel;
use super::order::Order;
use super::probe::{Handler, Point, Probe};
use super::rules::guard::{Guard, Guards, Outcome};
use super::rules::{Hit, RuleSet, Verdicts, judge, judge_hit};
use super::snapshot::{RcuState, Snapshot, Task};
use super::units::{Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

pub use super::finding::Verdict;
pub use super::fold::{Repeats, Total};
pub use super::order::Gap;
pub use super::track::Tracks;

/// The first break of its kind.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// Number of this kind of break in this pipeline, from 1.
    pub id: u32,
    /// Which rule fired, how bad it is and why.
    pub verdict: Verdict,
    /// The record that it fired on, decoded.
    pub hit: Hit<'a>,
    /// The CPU's own number of the record, lost ones counted.
    pub cpu_seq: u64,
    /// Empty where the question has no meaning.
    pub guards: &'a [Outcome],
    /// Equal for the same rule, function and handlers on any kernel and in any run.
    pub fingerprint: &'a str,
}

/// Hears what the pipeline has to say, as it happens.
pub trait Listener {
    /// The first break of its kind.
    fn finding(&mut self, finding: &Finding<'_>);

    /// A break of a kind that was heard of before.
    fn again(&mut self, _rule: RuleId, _hit: &Hit<'_>) {}

    /// Records are missing before the one that comes next.
    fn gap(&mut self, _gap: Gap) {}

    /// Bytes that are no record.
    fn undecodable(&mut self, _error: &DecodeError) {}

    /// Any record, before it is judged.
    fn hit(&mut self, _hit: &Hit<'_>, _cpu_seq: u64) {}
}

/// How often a rule could judge, and how often it fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Hits that let it judge.
    pub judged: u64,
    /// Hits that it fired on, those of `--self-test` left out.
    pub fired: u64,
}

/// How often a guard would have protected a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardCount {
    /// The guard that was asked about.
    pub guard: Guard,
    /// Breaks whose handler would have been protected behind it, or skipped.
    pub protects: u64,
    /// Breaks whose handler would have run unprotected in spite of it.
    pub fails: u64,
}

/// A probe of the plan, and how often its handlers changed.
#[derive(Clone, Debug)]
struct RevisedProbe {
    probe: Probe,
    revision: u32,
}

/// Judges a stream of records.
#[derive(Clone, Debug)]
pub struct Pipeline {
    kernel: KernelModel,
    guards: Guards,
    /// By id; the programs' ids are not contiguous.
    plan: Vec<Option<RevisedProbe>>,
    order: Order,
    fold: Fold,
    rule_counts: [RuleCount; RuleId::ALL.len()],
    guard_counts: [GuardCount; Guard::ALL.len()],
    looks: [Option<Looked>; RuleId::ALL.len()],
    undecodable: u64,
    samples_in_eqs: u64,
    tracks: Tracks,
    verdicts: Verdicts,
}

impl Pipeline {
    /// Starts with a plan whose probes' ids are their indices.
    #[must_use]
    pub fn new(kernel: KernelModel, plan: Vec<Probe>) -> Self {
        let mut pipeline = Self {
            guards: Guards::new(&kernel),
            kernel,
            plan: Vec::with_capacity(plan.len()),
            order: Order::default(),
            fold: Fold::default(),
            rule_counts: [RuleCount::default(); RuleId::ALL.len()],
            guard_counts: Guard::ALL.map(|guard| GuardCount { guard, protects: 0, fails: 0 }),
            looks: [const { None }; RuleId::ALL.len()],
            undecodable: 0,
            samples_in_eqs: 0,
            tracks: Tracks::default(),
            verdicts: Verdicts::default(),
        };
        for probe in plan {
            pipeline.add_probe(probe);
        }
        pipeline
    }

    /// Adds a probe to the running plan, at the next id that was never used.
    pub fn add_probe(&mut self, probe: Probe) -> ProbeId {
        let id = ProbeId(u32::try_from(self.plan.len()).unwrap_or(u32::MAX));
        self.set_probe(id, probe);
        id
    }

    /// Puts a probe at an id of its own. A break at an id that had another probe before is a new finding.
    pub fn set_probe(&mut self, id: ProbeId, probe: Probe) {
        let index = id.0 as usize;
        if index >= self.plan.len() {
            self.plan.resize(index + 1, None);
        }
        let revision = self.plan[index].as_ref().map_or(0, |planned| planned.revision + 1);
        self.plan[index] = Some(RevisedProbe { probe, revision });
    }

    /// Notes that other handlers sit on a probe's function now. A break with the new ones is a new finding.
    pub fn set_handlers(&mut self, id: ProbeId, handlers: Vec<Handler>) {
        if let Some(planned) = self.planned_mut(id)
            && planned.probe.handlers != handlers
        {
            planned.probe.handlers = handlers;
            planned.revision += 1;
        }
    }

    /// What is known of the kernel; calibration may learn more while records come.
    pub const fn kernel_mut(&mut self) -> &mut KernelModel {
        &mut self.kernel
    }

    /// What is known of the kernel.
    #[must_use]
    pub const fn kernel(&self) -> &KernelModel {
        &self.kernel
    }

    /// The probe at an id; `None` where there never was one.
    #[must_use]
    pub fn probe(&self, id: ProbeId) -> Option<&Probe> {
        self.plan.get(id.0 as usize)?.as_ref().map(|planned| &planned.probe)
    }

    /// Probes with their ids, those included that were detached since.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeId, &Probe)> {
        let plan = (0..).map(ProbeId).zip(&self.plan);
        plan.filter_map(|(id, planned)| planned.as_ref().map(|planned| (id, &planned.probe)))
    }

    /// Judges one record.
    pub fn push(&mut self, bytes: &[u8], listener: &mut impl Listener) {
        let planned = u32::try_from(self.plan.len()).unwrap_or(u32::MAX);
        let judged = decode(bytes, planned).and_then(|snapshot| {
            self.push_snapshot(&snapshot, listener)
                .ok_or(DecodeError::ProbeOutOfRange { probe: snapshot.probe.0, planned })
        });
        if let Err(error) = judged {
            self.undecodable += 1;
            listener.undecodable(&error);
        }
    }

    /// `None` where the plan has no such probe.
    fn push_snapshot(&mut self, snapshot: &Snapshot<'_>, listener: &mut impl Listener) -> Option<()> {
        let planned = self.plan.get(snapshot.probe.0 as usize)?.as_ref()?;
        let place = self.order.place(snapshot);
        if let Some(gap) = place.gap {
            listener.gap(gap);
        }
        let hit = Hit::new(&self.kernel, &planned.probe, snapshot);
        listener.hit(&hit, place.cpu_seq);
        judge_hit(&hit, &mut self.verdicts);
        if let Some(verdict) = self.tracks.follow(&hit) {
            self.verdicts.fire(verdict.rule, verdict.severity, verdict.because);
        }
        for rule in self.verdicts.judged().iter() {
            self.rule_counts[rule as usize].judged += 1;
        }
        if self.verdicts.is_empty() {
            return Some(());
        }
        let asks = !snapshot.synthetic && self.verdicts.iter().any(|verdict| verdict.rule.row().asks_guards);
        let outcomes = if asks { Some(self.guards.again_at(&hit.under)) } else { None };
        if let Some(outcomes) = &outcomes {
            for (count, outcome) in self.guard_counts.iter_mut().zip(outcomes) {
                if outcome.protects {
                    count.protects += 1;
                } else {
                    count.fails += 1;
                }
            }
        }
        for &(mut verdict) in self.verdicts.iter() {
            if verdict.rule == RuleId::SampledInEqs && verdict.severity == Severity::Error {
                // The registers of a sample may be late: one is a hint, the next makes it a finding.
                if self.samples_in_eqs == 0 {
                    verdict.severity = Severity::Info;
                }
                self.samples_in_eqs += 1;
            }
            if !snapshot.synthetic {
                self.rule_counts[verdict.rule as usize].fired += 1;
            }
            let kind = FindingKind::of(verdict, &hit, planned.revision);
            if let Some(total) = self.fold.add(kind, &planned.probe, snapshot.ts) {
                let guards = outcomes.as_ref().filter(|_| verdict.rule.row().asks_guards);
                let guards = guards.map_or(&[][..], |outcomes| &outcomes[..]);
                listener.finding(&Finding {
                    id: total.id,
                    verdict,
                    hit,
                    cpu_seq: place.cpu_seq,
                    guards,
                    fingerprint: &total.fingerprint,
                });
            } else {
                listener.again(verdict.rule, &hit);
            }
        }
        Some(())
    }

    /// Counts hits that a probe found at rest and did not send: they were judged where they happened.
    pub fn count_at_rest(&mut self, probe: ProbeId, hits: u64) {
        for rule in self.judged_at_rest(probe).iter() {
            let judged = &mut self.rule_counts[rule as usize].judged;
            *judged = judged.saturating_add(hits);
        }
    }

    /// Takes what a look found; `Some` with its total when it is the first of its kind.
    pub fn add_condition(&mut self, condition: &Condition, ts: Nanos) -> Option<&Total> {
        let fired = &mut self.rule_counts[condition.rule as usize].fired;
        *fired = fired.saturating_add(condition.count);
        self.fold.add_condition(condition, ts)
    }

    /// Notes what a look could say of a rule.
    pub fn looked(&mut self, rule: RuleId, looked: Looked) {
        let before = self.looks[rule as usize].take();
        self.looks[rule as usize] = Some(match before {
            Some(before) => before.and(looked),
            None => looked,
        });
    }

    /// What all looks could say of a rule; `None` where nobody looked.
    #[must_use]
    pub const fn look(&self, rule: RuleId) -> Option<&Looked> {
        self.looks[rule as usize].as_ref()
    }

    /// Rules that a hit of this probe at rest lets judge.
    fn judged_at_rest(&self, probe: ProbeId) -> RuleSet {
        let Some(probe) = self.probe(probe) else {
            return RuleSet::default();
        };
        let layout = self.kernel.generation.layout();
        // At the points of NMIs and exceptions rest is to be counted as one, and marked.
        let in_nmi = matches!(probe.point, Point::NmiEnter | Point::IstEnter);
        let (counted, marked) = if in_nmi { (2, self.kernel.preempt.nmi_mask) } else { (0, 0) };
        let at_rest = Snapshot {
            rcu: RcuState {
                state: StateWord(layout.watching_mask),
                nesting: Counter(layout.rest_nesting),
                nmi_nesting: Counter(layout.rest_nmi_nesting + counted),
                preempt_count: PreemptCount(marked),
            },
            task: Task { pid: 1, tgid: 1, comm: [0; 16] },
            ..Snapshot::default()
        };
        let mut verdicts = Verdicts::default();
        judge(&self.kernel, probe, &at_rest, &mut verdicts);
        verdicts.judged()
    }

    /// Every kind of break with its exact count.
    #[must_use]
    pub fn totals(&self) -> &[Total] {
        self.fold.totals()
    }

    /// Repeats since this was last called.
    pub fn take_repeats(&mut self) -> Vec<Repeats> {
        self.fold.take_repeats()
    }

    /// How often `rule` could judge and fired so far.
    #[must_use]
    pub const fn rule_count(&self, rule: RuleId) -> RuleCount {
        self.rule_counts[rule as usize]
    }

    /// The guards, in the order of [`Guard::ALL`]; only breaks whose rule asks for guards are counted.
    #[must_use]
    pub const fn guard_counts(&self) -> &[GuardCount] {
        &self.guard_counts
    }

    /// Where each CPU is, as far as the stream has shown.
    #[must_use]
    pub const fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Records of `probe` that came from `cpu`.
    #[must_use]
    pub fn delivered(&self, cpu: CpuId, probe: ProbeId) -> u64 {
        self.order.delivered(cpu, probe)
    }

    /// Delivered bytes that were no record.
    #[must_use]
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
    }

    fn planned_mut(&mut self, id: ProbeId) -> Option<&mut RevisedProbe> {
        self.plan.get_mut(id.0 as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::model::generation::Generation;
    use crate::model::kernel::TextRange;
    use crate::probe::{HandlerKind, Mechanism, Point, Reliance};
    use crate::rules::tests::{NI, handler, idle, in_task, kernel, probe};
    use crate::snapshot::Regs;
    use crate::units::{Address, Nanos};

    #[derive(Default)]
    struct Heard {
        findings: Vec<(u32, &'static str, u64)>,
        gaps: Vec<Gap>,
        undecodable: usize,
    }

    impl Listener for Heard {
        fn finding(&mut self, finding: &Finding<'_>) {
            self.findings.push((finding.id, finding.verdict.rule.code(), finding.cpu_seq));
        }

        fn gap(&mut self, gap: Gap) {
            self.gaps.push(gap);
        }

        fn undecodable(&mut self, _error: &DecodeError) {
            self.undecodable += 1;
        }
    }

    fn pipeline() -> Pipeline {
        let checkpoint = probe(Point::Checkpoint, Mechanism::RawTracepoint);
        let mut patched = probe(Point::PatchedFunction, Mechanism::Fentry);
        patched.handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
        Pipeline::new(kernel(Generation::G4), vec![checkpoint, patched])
    }

    fn unwatched(probe_seq: u64) -> Vec<u8> {
        encode(&Snapshot { probe: ProbeId(1), probe_seq, ts: Nanos(probe_seq), ..idle(1, 0, 0, 0) })
    }

    #[test]
    fn repeats_are_counted_and_nothing_is_lost_by_folding() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        for seq in 0..1000 {
            pipeline.push(&unwatched(seq), &mut heard);
        }
        assert_eq!(heard.findings, [(1, "RW001", 0)]);
        assert_eq!(pipeline.totals()[0].count, 1000);
        assert_eq!(pipeline.take_repeats()[0].count, 999);
        assert_eq!(pipeline.rule_count(RuleId::HandlerUnwatched), RuleCount { judged: 1000, fired: 1000 });
        assert_eq!(pipeline.delivered(CpuId(0), ProbeId(1)), 1000);
        let none = pipeline.guard_counts()[0];
        assert_eq!((none.protects, none.fails), (0, 1000));
        let skip = pipeline.guard_counts()[4];
        assert_eq!((skip.protects, skip.fails), (1000, 0));
    }

    #[test]
    fn a_changed_handler_is_a_new_finding() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        pipeline.push(&unwatched(0), &mut heard);
        pipeline.set_handlers(ProbeId(1), vec![handler(HandlerKind::Bpf, Reliance::Relies)]);
        pipeline.push(&unwatched(1), &mut heard);
        pipeline.set_handlers(ProbeId(1), Vec::new());
        pipeline.push(&unwatched(2), &mut heard);
        assert_eq!(heard.findings, [(1, "RW001", 0), (2, "RW001", 1), (3, "RW015", 2)]);
        // Each with those of its own time, whoever has left since.
        let kinds: Vec<_> =
            pipeline.totals().iter().map(|total| total.handlers.first().map(|one| one.kind)).collect();
        assert_eq!(kinds, [Some(HandlerKind::Livepatch), Some(HandlerKind::Bpf), None]);
    }

    #[test]
    fn loss_is_told_and_is_no_finding() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        let at_rest = |probe_seq| encode(&Snapshot { probe_seq, ..in_task(4, 1, NI, 0) });
        pipeline.push(&at_rest(0), &mut heard);
        pipeline.push(&at_rest(10), &mut heard);
        assert_eq!(heard.findings, []);
        assert_eq!(heard.gaps.len(), 1);
        assert_eq!(heard.gaps[0].missing, 9);
    }

    #[test]
    fn bytes_that_are_no_record_are_counted() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        pipeline.push(&[1, 2, 3], &mut heard);
        let stranger = encode(&Snapshot { probe: ProbeId(2), ..Snapshot::default() });
        pipeline.push(&stranger, &mut heard);
        assert_eq!((pipeline.undecodable(), heard.undecodable), (2, 2));
        assert_eq!(pipeline.add_probe(probe(Point::IdleVictim, Mechanism::Fentry)), ProbeId(2));
        pipeline.push(&stranger, &mut heard);
        assert_eq!(pipeline.undecodable(), 2);
    }

    #[test]
    fn ids_may_have_holes_and_a_hole_is_no_probe() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        pipeline.set_probe(ProbeId(16), probe(Point::IdleVictim, Mechanism::Fentry));
        let hit = |at| encode(&Snapshot { probe: ProbeId(at), ..idle(1, 0, 0, 0) });
        pipeline.push(&hit(16), &mut heard);
        pipeline.push(&hit(9), &mut heard);
        assert_eq!(heard.findings, [(1, "RW015", 0)]);
        assert_eq!(pipeline.undecodable(), 1);
        assert_eq!(pipeline.probes().count(), 3);
    }

    #[test]
    fn hits_at_rest_count_as_judged() {
        let mut pipeline = pipeline();
        pipeline.count_at_rest(ProbeId(0), 41_203);
        pipeline.count_at_rest(ProbeId(1), 812);
        assert_eq!(pipeline.rule_count(RuleId::NestingImbalance).judged, 41_203 + 812);
        assert_eq!(pipeline.rule_count(RuleId::HandlerUnwatched).judged, 812);
        assert_eq!(pipeline.rule_count(RuleId::UncountedContext).judged, 0);
    }

    #[test]
    fn a_single_sample_is_a_hint_and_a_second_one_a_finding() {
        let range = |start, end| vec![TextRange { start: Address(start), end: Address(end) }];
        let mut kernel = kernel(Generation::G5);
        kernel.text.uninstrumentable = range(1, 2);
        let sampler = probe(Point::NmiEnter, Mechanism::Fentry);
        let mut pipeline = Pipeline::new(kernel, vec![sampler]);
        let mut heard = Heard::default();
        for probe_seq in 0..3 {
            let regs = Some(Regs { ip: Address(9), ..Regs::default() });
            pipeline.push(&encode(&Snapshot { probe_seq, regs, ..idle(5, 0, 1, 0x11_0000) }), &mut heard);
        }
        let told: Vec<_> = pipeline.totals().iter().map(|total| (total.severity, total.count)).collect();
        assert_eq!(told, [(Severity::Info, 1), (Severity::Error, 2)]);
    }

    #[test]
    fn a_synthetic_break_is_a_finding_and_no_observation() {
        let (mut pipeline, mut heard) = (pipeline(), Heard::default());
        pipeline.push(&encode(&Snapshot { synthetic: true, ..in_task(4, 1, NI, 0) }), &mut heard);
        assert_eq!(heard.findings, [(1, "RW001", 0)]);
        assert!(pipeline.totals()[0].synthetic);
        assert_eq!(pipeline.rule_count(RuleId::HandlerUnwatched), RuleCount::default());
        assert_eq!(pipeline.guard_counts()[0].fails, 0);
    }
}
