//! The rules: what each hit says about RCU's protection.
//!
//! `judge` looks at one snapshot and allocates nothing. A rule first says whether this hit lets it judge at
//! all (that count is the summary's `judged` / `not_exercised`), then whether it fires. No rule fires on a
//! state that the algorithm allows: the model's whole state space is the proof.

mod agreement;
mod context;
mod edge;
pub mod explain;
pub mod guard;
mod hit;
mod interrupt;
#[cfg(test)]
mod needs;
mod nesting;
mod pages;
mod place;
pub(crate) mod table;
mod watching;

use strum::EnumCount as _;

use super::finding::{RuleId, Severity, Verdict};
use super::model::kernel::KernelModel;
use super::probe::Probe;
use super::snapshot::Snapshot;

pub use super::vantage::{Entry, Underlying, Vantage};
pub use hit::Hit;
pub use pages::Page;
pub use table::{RULES, Rule};

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleSet(u32);

const _: () =
    assert!(RuleId::COUNT <= u32::BITS as usize, "a rule that has no bit of its own would be another's");

impl RuleSet {
    pub(crate) const fn insert(&mut self, rule: RuleId) {
        self.0 |= 1 << rule as u32;
    }

    #[must_use]
    pub(crate) const fn contains(self, rule: RuleId) -> bool {
        self.0 & (1 << rule as u32) != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = RuleId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let rule = RuleId::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(*rule)
        })
    }
}

/// What the rules said of one hit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdicts {
    judged: RuleSet,
    fired: RuleSet,
    /// Of those that fired; the others are left over from hits before, since this is cleared with every record.
    verdicts: [Verdict; RuleId::COUNT],
}

impl Default for Verdicts {
    fn default() -> Self {
        let none = Verdict { rule: RuleId::HandlerUnwatched, severity: Severity::Info, because: "" };
        Self { judged: RuleSet::default(), fired: RuleSet::default(), verdicts: [none; RuleId::COUNT] }
    }
}

impl Verdicts {
    pub(crate) fn clear(&mut self) {
        self.judged = RuleSet::default();
        self.fired = RuleSet::default();
    }

    /// Rules that could judge the hit.
    #[must_use]
    pub(crate) const fn judged(&self) -> RuleSet {
        self.judged
    }

    /// Rules that fired, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Verdict> {
        self.fired.iter().map(|rule| &self.verdicts[rule as usize])
    }

    #[must_use]
    pub(crate) const fn get(&self, rule: RuleId) -> Option<&Verdict> {
        if self.fired.contains(rule) { Some(&self.verdicts[rule as usize]) } else { None }
    }

    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.fired.0 == 0
    }

    const fn judging(&mut self, rule: RuleId) {
        self.judged.insert(rule);
    }

    /// Notes that `rule` fired; the first reason stands.
    pub(super) const fn fire(&mut self, rule: RuleId, severity: Severity, because: &'static str) {
        if !self.fired.contains(rule) {
            self.fired.insert(rule);
            self.verdicts[rule as usize] = Verdict { rule, severity, because };
        }
    }
}

/// Says of one snapshot what every rule has to say.
pub(crate) fn judge(kernel: &KernelModel, probe: &Probe, snapshot: &Snapshot<'_>, verdicts: &mut Verdicts) {
    judge_hit(&Hit::new(kernel, probe, snapshot), verdicts);
}

/// Says of one hit what every rule has to say.
///
/// A synthetic snapshot is no observation: it proves the way of an alarm from the probe to the exit code, so
/// it is one RW001 whatever its words are, and no rule counts it as judged.
pub(crate) fn judge_hit(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    verdicts.clear();
    if hit.snapshot.synthetic {
        verdicts.fire(
            RuleId::HandlerUnwatched,
            Severity::Error,
            "sent by --self-test to prove that an alarm gets through",
        );
        return;
    }
    if !hit.kernel.calibration.task {
        return;
    }
    watching::judge(hit, verdicts);
    nesting::judge(hit, verdicts);
    agreement::judge(hit, verdicts);
    context::judge(hit, verdicts);
    edge::judge(hit, verdicts);
    interrupt::judge(hit, verdicts);
    place::judge(hit, verdicts);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::generation::{Generation, NON_IDLE};
    use crate::model::kernel::PreemptLayout;
    use crate::probe::{Handler, HandlerKind, Mechanism, Point, Reliance};
    use crate::snapshot::{RcuState, Task};
    use crate::units::{Counter, PreemptCount, StateWord};

    pub(crate) const NMI: u64 = 0x11_0000;
    pub(crate) const HARDIRQ: u64 = 0x1_0000;
    pub(crate) const NI: i64 = NON_IDLE;

    pub(crate) fn kernel(generation: Generation) -> KernelModel {
        KernelModel::new(generation, PreemptLayout::FOUR_BYTES)
    }

    pub(crate) fn probe(point: Point, mechanism: Mechanism) -> Probe {
        Probe {
            point,
            mechanism,
            symbol: "arch_cpu_idle".to_owned(),
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        }
    }

    pub(crate) fn handler(kind: HandlerKind, reliance: Reliance) -> Handler {
        Handler {
            kind,
            name: "theirs".to_owned(),
            event: None,
            program: None,
            reliance,
            ours: false,
            owner: None,
        }
    }

    pub(crate) fn in_task(state: u32, nesting: i64, nmi_nesting: i64, preempt: u64) -> Snapshot<'static> {
        Snapshot {
            task: Task { pid: 7, tgid: 7, comm: [0; 16] },
            ..idle(state, nesting, nmi_nesting, preempt)
        }
    }

    pub(crate) fn idle(state: u32, nesting: i64, nmi_nesting: i64, preempt: u64) -> Snapshot<'static> {
        Snapshot {
            rcu: RcuState {
                state: StateWord(state),
                nesting: Counter(nesting),
                nmi_nesting: Counter(nmi_nesting),
                preempt_count: PreemptCount(preempt),
            },
            ..Snapshot::default()
        }
    }

    pub(crate) fn verdicts(kernel: &KernelModel, probe: &Probe, snapshot: &Snapshot<'_>) -> Verdicts {
        let mut verdicts = Verdicts::default();
        judge(kernel, probe, snapshot, &mut verdicts);
        verdicts
    }

    /// Codes and severities of all that fired.
    pub(crate) fn fired(
        kernel: &KernelModel,
        probe: &Probe,
        snapshot: &Snapshot<'_>,
    ) -> Vec<(&'static str, Severity)> {
        verdicts(kernel, probe, snapshot)
            .iter()
            .map(|verdict| (verdict.rule.code(), verdict.severity))
            .collect()
    }

    #[test]
    fn a_synthetic_snapshot_is_one_rw001_whatever_its_words_are() {
        for words in [idle(1, 0, 0, 0), in_task(4, 1, NI, 0), idle(0, -7, 9, NMI)] {
            let snapshot = Snapshot { synthetic: true, ..words };
            let probe = probe(Point::Checkpoint, Mechanism::RawTracepoint);
            let verdicts = verdicts(&kernel(Generation::G5), &probe, &snapshot);
            assert_eq!(verdicts.iter().count(), 1);
            assert_eq!(verdicts.get(RuleId::HandlerUnwatched).unwrap().severity, Severity::Error);
            assert_eq!(verdicts.judged(), RuleSet::default());
        }
    }

    #[test]
    fn nothing_is_judged_before_a_task_was_seen_at_rest() {
        let mut kernel = kernel(Generation::G5);
        kernel.calibration.task = false;
        let probe = probe(Point::Checkpoint, Mechanism::RawTracepoint);
        let verdicts = verdicts(&kernel, &probe, &in_task(0, 5, 5, NMI));
        assert!(verdicts.is_empty());
        assert_eq!(verdicts.judged(), RuleSet::default());
    }

    #[test]
    fn a_relying_handler_is_named_before_one_that_is_not() {
        let mut probe = probe(Point::FtraceFunction, Mechanism::Fentry);
        probe.handlers = vec![
            handler(HandlerKind::FtraceOps, Reliance::DoesNotRely),
            handler(HandlerKind::Livepatch, Reliance::Relies),
        ];
        assert_eq!(fired(&kernel(Generation::G5), &probe, &idle(1, 0, 0, 0)), [("RW001", Severity::Error)]);
    }
}
