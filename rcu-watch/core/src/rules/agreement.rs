//! RW007: the watching bit, the context bits and the counters contradict each other.
//!
//! From 4.16 on the invariants hold at every instruction of the local CPU, and a snapshot whose S moved while
//! it was read is never sent: any contradiction is real.

use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::model::generation::{Base, Context};
use crate::probe::Point;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    if !hit.kernel.calibration.eqs {
        return;
    }
    verdicts.judging(RuleId::StateDisagrees);
    if let Some(because) = contradiction(hit) {
        verdicts.fire(RuleId::StateDisagrees, Severity::Error, because);
    }
}

fn contradiction(hit: &Hit<'_>) -> Option<&'static str> {
    if !hit.watching {
        if hit.m() != 0 {
            return Some("RCU is not watching although M counts an irq or NMI");
        }
        // Up to 4.15 N was written before S on the way out of an EQS: that window was legal.
        if hit.n() != 0 && !hit.is_old_counting() {
            return Some("RCU is not watching although N counts a task");
        }
        return (hit.context == Some(Context::Kernel))
            .then_some("RCU is not watching although the context is the kernel");
    }
    if hit.n() == 0 && hit.m() == 0 && nothing_counted_is_a_break(hit) {
        return Some(
            "RCU is watching although neither N nor M counts anything: the next entry goes uncounted",
        );
    }
    if let Some(because) = counters_disagree(hit) {
        return Some(because);
    }
    context_left_behind(hit)
        .then_some("a task runs with the context of an EQS in the state word: an exit from it was lost")
}

/// N is zero exactly where M says that an EQS lies underneath: M is cleared before N on the way in, and set after
/// it on the way out, so only a window has N alone.
fn counters_disagree(hit: &Hit<'_>) -> Option<&'static str> {
    if hit.is_old_counting() {
        return None;
    }
    match hit.base {
        Base::Eqs if hit.m() > 0 && hit.n() != 0 => Some(
            "M counts an entry out of an EQS although N counts a task: their writes came in the wrong order",
        ),
        Base::Kernel if hit.n() == 0 => {
            Some("M is at or above its rest although N counts no task: their writes came in the wrong order")
        }
        _ => None,
    }
}

/// W=1 with N=0 and M=0 is the inside of a transition: only RCU's own functions run there, and what the
/// way out of an EQS calls, where this kernel has it call anything.
fn nothing_counted_is_a_break(hit: &Hit<'_>) -> bool {
    !hit.is_old_counting()
        && hit.is_direct()
        && !hit.probe.is_rcu_internal
        && !hit.is_at_edge()
        && (!hit.kernel.eqs_exit_calls_out
            || matches!(
                hit.probe.point,
                Point::Checkpoint | Point::NmiEnter | Point::IstEnter | Point::IrqEnter | Point::IrqExit
            ))
}

/// Whether a task runs with the context of an EQS. Not judged in an NMI, which may interrupt user code of a housekeeping CPU, where C says so and RCU watches.
fn context_left_behind(hit: &Hit<'_>) -> bool {
    hit.is_direct()
        && !hit.probe.is_rcu_internal
        && hit.n() >= 1
        && hit.m() == hit.kernel.generation.layout().rest_nmi_nesting
        && hit.nmi_depth == 0
        && hit.hardirq_depth == 0
        && hit.context.is_some_and(|context| context != Context::Kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::{Generation, TASK_EXIT_IDLE};
    use crate::probe::Mechanism;
    use crate::rules::tests::{HARDIRQ, NI, NMI, fired, idle, in_task, kernel, probe};
    use crate::snapshot::Snapshot;

    fn disagrees(generation: Generation, point: Point, snapshot: &Snapshot<'_>) -> bool {
        fired(&kernel(generation), &probe(point, Mechanism::Fentry), snapshot)
            .contains(&("RW007", Severity::Error))
    }

    #[test]
    fn an_unwatched_cpu_counts_nothing() {
        for generation in [Generation::G1, Generation::G2, Generation::G3, Generation::G4, Generation::G5] {
            let off = 1 & generation.layout().context_mask;
            let point = Point::FtraceFunction;
            assert!(disagrees(generation, point, &idle(off, 1, 0, 0)), "{generation}");
            assert!(disagrees(generation, point, &idle(off, 0, 1, 0)), "{generation}");
            assert!(disagrees(generation, point, &idle(off, 1, NI, 0)), "{generation}");
            assert!(!disagrees(generation, point, &idle(off, 0, 0, 0)), "{generation}");
        }
    }

    #[test]
    fn the_window_of_2017_was_legal_then() {
        let point = Point::FtraceFunction;
        assert!(!disagrees(Generation::G0b, point, &idle(0, TASK_EXIT_IDLE, 0, 0)));
        assert!(!disagrees(Generation::G0b, point, &idle(2, 0, 0, 0)));
        assert!(disagrees(Generation::G0b, point, &idle(0, 0, 1, 0)));
    }

    #[test]
    fn an_unwatched_kernel_context_is_a_contradiction_from_6_0_on() {
        assert!(disagrees(Generation::G4, Point::FtraceFunction, &idle(8, 0, 0, 0)));
        assert!(!disagrees(Generation::G3, Point::FtraceFunction, &idle(8, 0, 0, 0)));
    }

    #[test]
    fn n_and_m_agree_on_what_lies_underneath() {
        assert!(disagrees(Generation::G5, Point::NmiEnter, &idle(5, 1, 1, NMI)));
        assert!(disagrees(Generation::G5, Point::NmiEnter, &idle(4, 0, NI + 2, NMI)));
        assert!(!disagrees(Generation::G5, Point::NmiEnter, &idle(4, 1, 2, NMI)));
        assert!(!disagrees(Generation::G5, Point::NmiEnter, &idle(4, 0, 2, NMI)));
    }

    #[test]
    fn nothing_counted_is_a_break_where_no_transition_can_be() {
        assert!(disagrees(Generation::G5, Point::Checkpoint, &in_task(4, 0, 0, 0)));
        assert!(!disagrees(Generation::G5, Point::FtraceFunction, &idle(4, 0, 0, 0)));
        let mut kernel = kernel(Generation::G5);
        kernel.eqs_exit_calls_out = false;
        let mut probe = probe(Point::FtraceFunction, Mechanism::Fentry);
        assert_eq!(fired(&kernel, &probe, &idle(4, 0, 0, 0)), [("RW007", Severity::Error)]);
        probe.is_rcu_internal = true;
        assert_eq!(fired(&kernel, &probe, &idle(4, 0, 0, 0)), []);
    }

    #[test]
    fn a_task_with_the_context_of_an_eqs_is_a_contradiction_but_an_nmi_from_user_mode_is_not() {
        assert!(disagrees(Generation::G5, Point::Checkpoint, &in_task(6, 1, NI, 0)));
        assert!(!disagrees(Generation::G5, Point::NmiEnter, &in_task(6, 1, NI + 2, NMI)));
        assert!(!disagrees(Generation::G5, Point::IrqEnter, &idle(5, 0, 1, HARDIRQ)));
    }
}
