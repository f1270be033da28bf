//! Folds repeats: the first break of a kind goes out in full, the rest as exact counts.
//!
//! A kind is the rule, its severity and reason, the probe with the handlers that it had then, and the shape of
//! the state. The shape is bounded, so a leak that passes through every depth stays a handful of kinds. What a look
//! found is folded by its rule, its function and its own key, and numbered through with the rest.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::HashMap;

use super::condition::Condition;
use super::finding::{RuleId, Severity, Verdict};
use super::model::generation::Base;
use super::probe::{Handler, HandlerKind, Probe};
use super::rules::Hit;
use super::units::{Nanos, ProbeId};

/// What makes two breaks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FindingKind {
    verdict: Verdict,
    probe: ProbeId,
    /// Counts changes of the handlers on the probe's function.
    revision: u32,
    watching: bool,
    under_watching: bool,
    base: Base,
    in_irq: bool,
    in_nmi: bool,
    idle: bool,
    synthetic: bool,
}

impl FindingKind {
    #[must_use]
    pub(crate) fn of(verdict: Verdict, hit: &Hit<'_>, revision: u32) -> Self {
        Self {
            verdict,
            probe: hit.snapshot.probe,
            revision,
            watching: hit.watching,
            under_watching: hit.under_watching,
            base: hit.base,
            in_irq: hit.hardirq_depth > 0,
            in_nmi: hit.nmi_depth > 0,
            idle: hit.snapshot.task.is_idle(),
            synthetic: hit.snapshot.synthetic,
        }
    }
}

/// What makes two conditions the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ConditionKind {
    rule: RuleId,
    severity: Severity,
    function: String,
    key: String,
}

/// The count of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// From 1, in the order of first sight.
    pub id: u32,
    /// The rule that fired.
    pub rule: RuleId,
    /// How bad it was on first sight.
    pub severity: Severity,
    /// Why the rule fired, in half a sentence.
    pub because: String,
    /// The probe that saw it first; `None` of what a look found.
    pub probe: Option<ProbeId>,
    /// The function or tracepoint that it is about.
    pub function: String,
    /// The handlers on it as they were on first sight.
    pub handlers: Vec<Handler>,
    /// Hits that it was seen on, the first included.
    pub count: u64,
    /// When it was seen last.
    pub last_ts: Nanos,
    /// Equal for the same rule, function and handlers on any kernel and in any run.
    pub fingerprint: String,
    /// Sent by `--self-test`: no observation.
    pub synthetic: bool,
    untold: u64,
}

/// Repeats of one kind since they were last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Number of the finding that they repeat.
    pub id: u32,
    /// The finding's rule.
    pub rule: RuleId,
    /// What the finding is about.
    pub function: String,
    /// Hits since the finding or the last repeat was told.
    pub count: u64,
    /// When the latest of them was seen.
    pub last_ts: Nanos,
}

/// All kinds that were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    kinds: HashMap<FindingKind, usize>,
    conditions: HashMap<ConditionKind, usize>,
    totals: Vec<Total>,
    /// The kind that came last: breaks come in runs.
    last: Option<(FindingKind, usize)>,
}

impl Fold {
    /// Counts one break; `Some` with its new total when it is the first of its kind.
    pub(crate) fn add(&mut self, kind: FindingKind, probe: &Probe, ts: Nanos) -> Option<&Total> {
        let known = match self.last {
            Some((last, at)) if last == kind => Some(at),
            _ => self.kinds.get(&kind).copied(),
        };
        if let Some(at) = known {
            self.last = Some((kind, at));
            let total = &mut self.totals[at];
            total.count += 1;
            total.untold += 1;
            total.last_ts = total.last_ts.max(ts);
            return None;
        }
        self.kinds.insert(kind, self.totals.len());
        self.totals.push(Total {
            id: self.next_id(),
            rule: kind.verdict.rule,
            severity: kind.verdict.severity,
            because: kind.verdict.because.to_owned(),
            probe: Some(kind.probe),
            function: probe.symbol.clone(),
            handlers: probe.handlers.clone(),
            count: 1,
            last_ts: ts,
            fingerprint: fingerprint(kind.verdict.rule, &probe.symbol, &probe.handlers),
            synthetic: kind.synthetic,
            untold: 0,
        });
        self.totals.last()
    }

    /// Counts what a look found; `Some` with its new total when it is the first of its kind.
    pub(crate) fn add_condition(&mut self, condition: &Condition, ts: Nanos) -> Option<&Total> {
        let Condition { rule, severity, function, handlers, key, count, .. } = condition;
        let kind =
            ConditionKind { rule: *rule, severity: *severity, function: function.clone(), key: key.clone() };
        if let Some(&at) = self.conditions.get(&kind) {
            let total = &mut self.totals[at];
            total.count = total.count.saturating_add(*count);
            total.untold = total.untold.saturating_add(*count);
            total.last_ts = total.last_ts.max(ts);
            return None;
        }
        self.conditions.insert(kind, self.totals.len());
        self.totals.push(Total {
            id: self.next_id(),
            rule: *rule,
            severity: *severity,
            because: condition.because.clone(),
            probe: None,
            function: function.clone(),
            handlers: handlers.clone(),
            count: *count,
            last_ts: ts,
            fingerprint: fingerprint(*rule, function, handlers),
            synthetic: false,
            // The finding tells the first; the rest is told as its repeats are.
            untold: count.saturating_sub(1),
        });
        self.totals.last()
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.totals.len() + 1).unwrap_or(u32::MAX)
    }

    /// Every kind with its exact count, in the order of the ids.
    #[must_use]
    pub(crate) fn totals(&self) -> &[Total] {
        &self.totals
    }

    /// Repeats since this was last called.
    pub(crate) fn take_repeats(&mut self) -> Vec<Repeats> {
        let told = |total: &mut Total| {
            let count = core::mem::take(&mut total.untold);
            let Total { id, rule, last_ts, .. } = *total;
            (count > 0).then(|| Repeats { id, rule, function: total.function.clone(), count, last_ts })
        };
        self.totals.iter_mut().filter_map(told).collect()
    }
}

/// Equal for the same rule, function and handlers on any kernel and in any run: no address, no suffix that a
/// compiler chose, no order.
#[must_use]
pub(crate) fn fingerprint(rule: RuleId, function: &str, handlers: &[Handler]) -> String {
    let mut handlers: Vec<(HandlerKind, &str)> = handlers
        .iter()
        .filter(|handler| !handler.ours)
        .map(|handler| {
            // A kprobe is named by its address.
            let name = if handler.kind == HandlerKind::Kprobe { "" } else { handler.name.as_str() };
            (handler.kind, name)
        })
        .collect();
    handlers.sort_unstable();
    handlers.dedup();
    let mut hash = Fnv::default();
    hash.field(rule.code());
    hash.field(function.split('.').next().unwrap_or_default());
    for (kind, name) in handlers {
        hash.field(kind.name());
        hash.field(name);
    }
    format!("{:016x}", hash.0)
}

/// FNV-1a, 64 bits: stable over builds, which the standard hasher does not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn field(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;
    use crate::probe::{Mechanism, Point, Reliance};
    use crate::rules::tests::{handler, idle, kernel, probe};

    const VERDICT: Verdict =
        Verdict { rule: RuleId::HandlerUnwatched, severity: Severity::Error, because: "test" };

    fn kind(state: u32, m: i64) -> FindingKind {
        let kernel = kernel(Generation::G5);
        let probe = probe(Point::IdleVictim, Mechanism::Fentry);
        FindingKind::of(VERDICT, &Hit::new(&kernel, &probe, &idle(state, 0, m, 0)), 0)
    }

    #[test]
    fn the_first_is_told_and_the_rest_are_counted() {
        let probe = probe(Point::IdleVictim, Mechanism::Fentry);
        let mut fold = Fold::default();
        assert_eq!(fold.add(kind(1, 0), &probe, Nanos(5)).map(|total| total.id), Some(1));
        assert_eq!(fold.add(kind(1, 0), &probe, Nanos(9)), None);
        assert_eq!(fold.add(kind(1, 0), &probe, Nanos(7)), None);
        assert_eq!(fold.add(kind(5, 1), &probe, Nanos(8)).map(|total| total.id), Some(2));
        let repeats = fold.take_repeats();
        assert_eq!(repeats.len(), 1);
        assert_eq!((repeats[0].id, repeats[0].count, repeats[0].last_ts), (1, 2, Nanos(9)));
        assert_eq!(fold.take_repeats(), []);
        assert_eq!(fold.totals().iter().map(|total| total.count).sum::<u64>(), 4);
    }

    #[test]
    fn what_a_look_found_is_numbered_with_the_rest_and_told_anew_under_another_key() {
        let probe = probe(Point::IdleVictim, Mechanism::Fentry);
        let held = |key: &str, count| {
            let (rule, severity) = (RuleId::TransitionStalled, Severity::Warning);
            let stalled = Condition::new(rule, severity, "fix".to_owned(), "it stands still".to_owned());
            Condition { key: key.to_owned(), count, ..stalled }
        };
        let mut fold = Fold::default();
        fold.add(kind(1, 0), &probe, Nanos(5));
        assert_eq!(fold.add_condition(&held("task 7", 1), Nanos(6)).map(|total| total.id), Some(2));
        assert_eq!(fold.add_condition(&held("task 7", 3), Nanos(8)), None);
        assert_eq!(fold.add_condition(&held("task 8", 5), Nanos(9)).map(|total| total.id), Some(3));
        let repeats = fold.take_repeats();
        let told: Vec<_> = repeats.iter().map(|r| (r.id, &r.function[..], r.count, r.last_ts)).collect();
        // Of the five that came at once the finding told one.
        assert_eq!(told, [(2, "fix", 3, Nanos(8)), (3, "fix", 4, Nanos(9))]);
        assert_eq!(fold.totals()[1].count, 4);
        assert_eq!(fold.totals()[1].fingerprint, fold.totals()[2].fingerprint);
    }

    #[test]
    fn a_leak_through_every_depth_is_one_kind() {
        assert_eq!(kind(5, 65), kind(5, 1_000_001));
    }

    #[test]
    fn a_fingerprint_knows_no_address_no_compiler_and_no_order() {
        let named = |kind, name: &str| Handler { name: name.to_owned(), ..handler(kind, Reliance::Relies) };
        let mut here = probe(Point::PatchedFunction, Mechanism::Fentry);
        here.symbol = "intel_idle".to_owned();
        let mut there = probe(Point::PatchedFunction, Mechanism::KprobeFtrace);
        there.symbol = "intel_idle.constprop.0".to_owned();
        here.handlers = vec![named(HandlerKind::Livepatch, "a"), named(HandlerKind::Kprobe, "0xffff1")];
        there.handlers = vec![named(HandlerKind::Kprobe, "0xffff2"), named(HandlerKind::Livepatch, "a")];
        let print = |probe: &Probe| fingerprint(VERDICT.rule, &probe.symbol, &probe.handlers);
        assert_eq!(print(&here), print(&there));
        there.handlers[1].name = "b".to_owned();
        assert_ne!(print(&here), print(&there));
    }
}
