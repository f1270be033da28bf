//! RW006: a counter went below zero, leaked, or is not back at rest at a context switch.

use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::model::generation::{TASK_EXIT_IDLE, TASK_NEST_MASK};
use crate::probe::Point;

/// Deeper than any stack of irqs, exceptions and NMIs that fits a kernel stack.
pub(super) const DEEPEST: i64 = 64;
/// Task-level nesting beyond this has never been seen legal: it is 1, or 0 in an EQS.
const MOST_NESTING: i64 = 2;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    verdicts.judging(RuleId::NestingImbalance);
    let because = if hit.is_at(Point::Checkpoint) { stale(hit) } else { None };
    if let Some(because) = because.or_else(|| out_of_range(hit)) {
        verdicts.fire(RuleId::NestingImbalance, Severity::Error, because);
    }
}

/// At a context switch the CPU is in a task: whatever is not at rest is left over.
fn stale(hit: &Hit<'_>) -> Option<&'static str> {
    let layout = hit.kernel.generation.layout();
    if !hit.watching {
        Some("RCU is not watching at a context switch")
    } else if hit.m() != layout.rest_nmi_nesting {
        Some(
            "M is not back at rest at a context switch: an irq or NMI was counted in but not out, or out twice",
        )
    } else if hit.n() != layout.rest_nesting {
        Some("N is not back at rest at a context switch: an EQS was entered or left once too often")
    } else {
        None
    }
}

/// Whether a counter holds what no stack of entries can make it hold.
fn out_of_range(hit: &Hit<'_>) -> Option<&'static str> {
    let (n, m) = (hit.n(), hit.m());
    let rest = hit.kernel.generation.layout().rest_nmi_nesting;
    if m < 0 {
        return Some("M is below zero: more irqs or NMIs were counted out than in");
    }
    if n < 0 {
        return Some("N is below zero: an EQS was entered more often than left");
    }
    if m > rest + DEEPEST || (m > DEEPEST && m < rest) {
        return Some("M is beyond any real depth: irqs or NMIs are counted in and not out");
    }
    let irqs_or_tasks = if hit.is_old_counting() {
        // Tasks in the high bits, irqs in the low: TASK_EXIT_IDLE is one task and none.
        if n & TASK_NEST_MASK == TASK_EXIT_IDLE & TASK_NEST_MASK { (n - TASK_EXIT_IDLE).max(0) } else { n }
    } else {
        n
    };
    let most = if hit.is_old_counting() { DEEPEST } else { MOST_NESTING };
    (irqs_or_tasks > most).then_some("N is beyond any real depth: it leaks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;
    use crate::probe::Mechanism;
    use crate::rules::tests::{NI, fired, in_task, kernel, probe};

    fn at_checkpoint(state: u32, nesting: i64, nmi_nesting: i64) -> Vec<&'static str> {
        let probe = probe(Point::Checkpoint, Mechanism::RawTracepoint);
        fired(&kernel(Generation::G5), &probe, &in_task(state, nesting, nmi_nesting, 0))
            .into_iter()
            .map(|(rule, severity)| {
                assert_eq!(severity, Severity::Error);
                rule
            })
            .collect()
    }

    #[test]
    fn a_context_switch_at_rest_is_silent() {
        assert_eq!(at_checkpoint(4, 1, NI), [""; 0]);
        assert_eq!(at_checkpoint(0xffff_fffc, 1, NI), [""; 0]);
    }

    #[test]
    fn whatever_is_left_at_a_context_switch_is_an_imbalance() {
        assert!(at_checkpoint(4, 1, NI + 2).contains(&"RW006"));
        assert!(at_checkpoint(4, 1, NI - 2).contains(&"RW006"));
        assert!(at_checkpoint(4, 2, NI).contains(&"RW006"));
        assert!(at_checkpoint(4, 0, NI).contains(&"RW006"));
        assert!(at_checkpoint(5, 0, 1).contains(&"RW006"));
        assert!(at_checkpoint(1, 0, 0).contains(&"RW006"));
    }

    #[test]
    fn underflow_and_leak_are_seen_at_any_point() {
        let probe = probe(Point::FtraceFunction, Mechanism::Fentry);
        for (n, m) in [(1, -2), (-1, NI), (3, NI), (0, 65), (1, NI + 66)] {
            let fired = fired(&kernel(Generation::G4), &probe, &in_task(4, n, m, 0));
            assert!(fired.contains(&("RW006", Severity::Error)), "N={n} M={m}: {fired:?}");
        }
    }

    #[test]
    fn old_counting_takes_tasks_and_irqs_apart() {
        let probe = probe(Point::FtraceFunction, Mechanism::Fentry);
        let fired = |n, m| fired(&kernel(Generation::G0b), &probe, &in_task(2, n, m, 0));
        assert_eq!(fired(TASK_EXIT_IDLE + 1, 0), []);
        assert_eq!(fired(1, 0), []);
        assert_eq!(fired(TASK_EXIT_IDLE + 99, 0), [("RW006", Severity::Error)]);
    }
}
