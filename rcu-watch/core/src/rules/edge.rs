//! RW003, RW004 and RW009: where NMIs and exceptions touch the edges that defeat a guard.
//!
//! An exception handler is also called for user mode (a debugger's breakpoint): that entry is no NMI, and M
//! does not count it. So M must show that the entry was counted before missing NMI bits mean anything.

use super::nesting::DEEPEST;
use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::probe::{Mechanism, Point};
use crate::vantage::Vantage;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    if hit.kernel.calibration.nmi_bits {
        nmi_bits(hit, verdicts);
    }
    window(hit, verdicts);
}

/// What kind of entry this hit is certainly behind.
#[derive(PartialEq)]
enum Behind {
    Nmi,
    Exception,
}

fn behind(hit: &Hit<'_>) -> Option<Behind> {
    if hit.probe.is_rcu_internal {
        return None;
    }
    if hit.probe.mechanism == Mechanism::Watchpoint {
        return Some(Behind::Exception);
    }
    match hit.probe.point {
        Point::NmiEnter => Some(Behind::Nmi),
        Point::IstEnter => Some(Behind::Exception),
        _ => matches!(hit.vantage, Vantage::Exception(_)).then_some(Behind::Exception),
    }
}

fn nmi_bits(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let Some(behind) = behind(hit) else {
        return;
    };
    let counted = hit.m() != hit.kernel.generation.layout().rest_nmi_nesting;
    let sets_bits = hit.kernel.ist_sets_nmi_bits;
    if behind == Behind::Exception && !sets_bits {
        verdicts.judging(RuleId::ExceptionNotNmi);
        if counted && hit.nmi_depth == 0 {
            verdicts.fire(
                RuleId::ExceptionNotNmi,
                Severity::Info,
                "RCU counted an exception that in_nmi() does not show: a guard that asks it takes the irq path",
            );
        }
        return;
    }
    verdicts.judging(RuleId::NmiEdge);
    // The idle task has no user mode: what runs there was counted, or should have been.
    let is_kernels = behind == Behind::Nmi || counted || hit.snapshot.task.is_idle();
    if is_kernels && hit.nmi_depth == 0 {
        verdicts.fire(
            RuleId::NmiEdge,
            if sets_bits { Severity::Error } else { Severity::Info },
            "P shows no NMI on the way of one: in_nmi() says no here",
        );
    }
}

/// The hit's own exception is not one that landed by chance.
fn window(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let by_chance = match hit.probe.mechanism {
        Mechanism::Watchpoint | Mechanism::KprobeInt3 => &hit.under.rcu,
        _ => &hit.snapshot.rcu,
    };
    let (n, m) = (by_chance.nesting.0, by_chance.nmi_nesting.0);
    let rest = hit.kernel.generation.layout().rest_nmi_nesting;
    // Deeper is no window but a leak.
    if !(1..=DEEPEST).contains(&m) || m == rest {
        return;
    }
    verdicts.judging(RuleId::EqsWindowHit);
    let in_window = if hit.is_old_counting() {
        // N was written before S on both ways: the two disagree under an NMI that hit in between.
        if m % 2 == 0 { n == 0 } else { n != 0 }
    } else {
        m < rest && m % 2 == 0
    };
    if in_window {
        verdicts.fire(
            RuleId::EqsWindowHit,
            Severity::Info,
            "an NMI or exception landed inside a transition into or out of an EQS",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::{Generation, TASK_EXIT_IDLE};
    use crate::rules::tests::{HARDIRQ, NI, NMI, fired, idle, in_task, kernel, probe};

    #[test]
    fn an_nmi_without_its_bits_is_an_error_where_the_kernel_sets_them() {
        let nmi = probe(Point::NmiEnter, Mechanism::RawTracepoint);
        assert_eq!(
            fired(&kernel(Generation::G5), &nmi, &in_task(4, 1, NI + 2, 0)),
            [("RW003", Severity::Error)]
        );
        assert_eq!(fired(&kernel(Generation::G5), &nmi, &in_task(4, 1, NI + 2, NMI)), []);
        assert_eq!(fired(&kernel(Generation::G1), &nmi, &in_task(2, 1, NI, 0)), [("RW003", Severity::Info)]);
    }

    #[test]
    fn a_debuggers_breakpoint_in_user_mode_is_no_edge() {
        let ist = probe(Point::IstEnter, Mechanism::Fentry);
        assert_eq!(fired(&kernel(Generation::G5), &ist, &in_task(4, 1, NI, 0)), []);
        assert_eq!(
            fired(&kernel(Generation::G5), &ist, &in_task(4, 1, NI + 2, 0)),
            [("RW003", Severity::Error)]
        );
    }

    #[test]
    fn an_exception_that_in_nmi_does_not_show_is_info() {
        let mut kernel = kernel(Generation::G5);
        kernel.ist_sets_nmi_bits = false;
        let ist = probe(Point::IstEnter, Mechanism::Fentry);
        assert_eq!(fired(&kernel, &ist, &idle(5, 0, 1, 0)), [("RW004", Severity::Info)]);
        assert_eq!(fired(&kernel, &ist, &in_task(4, 1, NI, 0)), []);
    }

    #[test]
    fn an_nmi_inside_a_transition_is_told() {
        let nmi = probe(Point::NmiEnter, Mechanism::RawTracepoint);
        for m in [2, 4] {
            let nmis = NMI * (m as u64 / 2);
            assert_eq!(
                fired(&kernel(Generation::G5), &nmi, &idle(4, 0, m, nmis)),
                [("RW009", Severity::Info)]
            );
        }
        assert_eq!(fired(&kernel(Generation::G5), &nmi, &idle(5, 0, 3, NMI + HARDIRQ)), []);
        let old = kernel(Generation::G0b);
        assert_eq!(fired(&old, &nmi, &idle(2, TASK_EXIT_IDLE, 1, NMI)), [("RW009", Severity::Info)]);
        assert_eq!(fired(&old, &nmi, &idle(2, 0, 2, NMI)), [("RW009", Severity::Info)]);
        assert_eq!(fired(&old, &nmi, &idle(2, 0, 1, NMI)), []);
    }

    #[test]
    fn a_watchpoints_own_trap_is_not_an_exception_by_chance() {
        let watch = probe(Point::EqsExit, Mechanism::Watchpoint);
        assert_eq!(fired(&kernel(Generation::G5), &watch, &idle(4, 0, 2, NMI)), []);
        assert_eq!(
            fired(&kernel(Generation::G5), &watch, &idle(4, 0, 4, NMI + NMI)),
            [("RW009", Severity::Info)]
        );
    }
}
