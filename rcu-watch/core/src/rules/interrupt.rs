//! RW002 and RW005: RCU was told of an irq to no effect, and interrupts that are on where they must be off.

use super::nesting::DEEPEST;
use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::model::generation::Base;
use crate::probe::{Mechanism, Point};
use crate::vantage::Vantage;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    irq_enter(hit, verdicts);
    interrupts(hit, verdicts);
    irq_in_window(hit, verdicts);
}

/// At a point behind `rcu_irq_enter()` RCU must watch; up to 4.15 the call itself may be one that cannot work.
fn irq_enter(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    if !hit.is_at(Point::IrqEnter) || !hit.is_direct() || !hit.kernel.calibration.eqs {
        return;
    }
    verdicts.judging(RuleId::IrqEnterNoEffect);
    let because = if !hit.probe.is_rcu_internal {
        (!hit.watching).then_some("RCU was told of an irq, and still does not watch")
    } else if !hit.is_old_counting() {
        None
    } else if !hit.watching && (hit.n() != 0 || hit.m() != 0) {
        Some("rcu_irq_enter() was called where it counts and does not make RCU watch")
    } else if hit.watching && hit.n() == 0 && hit.m() == 0 {
        Some("rcu_irq_enter() was called before the increment of an EQS entry: it makes RCU stop watching")
    } else {
        None
    };
    if let Some(because) = because {
        verdicts.fire(RuleId::IrqEnterNoEffect, Severity::Error, because);
    }
}

/// Every transition runs with interrupts off: an irq that M counts on top of one shows that it did not.
fn irq_in_window(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let in_irq = hit.hardirq_depth > 0 || (hit.is_at(Point::IrqEnter) && !hit.probe.is_rcu_internal);
    if !in_irq || hit.nmi_depth > 0 || !hit.is_direct() || hit.is_old_counting() {
        return;
    }
    verdicts.judging(RuleId::IrqsOnInSection);
    // An irq in a task is not counted since 5.8: on top of a transition it finds M at zero.
    let is_on_top = hit.base == Base::Window && hit.m() <= DEEPEST;
    if is_on_top || (hit.m() == 0 && hit.watching) {
        verdicts.fire(
            RuleId::IrqsOnInSection,
            Severity::Error,
            "an irq landed inside a transition into or out of an EQS: interrupts were on there",
        );
    }
}

/// P belongs to the code that IF belongs to only after the entry was taken back out.
fn interrupts(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let Some(on) = hit.under.interrupts_on else {
        return;
    };
    if hit.vantage == Vantage::Ambiguous || hit.snapshot.regs.is_some_and(|regs| regs.user_mode) {
        return;
    }
    let in_nmi =
        hit.kernel.calibration.nmi_bits && hit.kernel.preempt.nmi_depth(hit.under.rcu.preempt_count) > 0;
    // A write to S that a watchpoint saw: M=1 is out of an EQS just entered, an even one inside a transition.
    let in_transition = hit.probe.mechanism == Mechanism::Watchpoint
        && (hit.base == Base::Window || (hit.base == Base::Eqs && hit.m() == 1));
    if !(in_nmi || in_transition) {
        return;
    }
    verdicts.judging(RuleId::IrqsOnInSection);
    if on {
        verdicts.fire(
            RuleId::IrqsOnInSection,
            Severity::Error,
            if in_nmi {
                "interrupts are on inside an NMI: an irq may switch tasks and leave the count behind"
            } else {
                "interrupts are on inside a transition into or out of an EQS"
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::{Generation, TASK_EXIT_IDLE};
    use crate::rules::tests::{NI, NMI, fired, idle, in_task, kernel, probe};
    use crate::snapshot::{Regs, Snapshot};

    fn with_interrupts(on: bool, snapshot: Snapshot<'static>) -> Snapshot<'static> {
        Snapshot { regs: Some(Regs { rflags: u64::from(on) << 9, ..Regs::default() }), ..snapshot }
    }

    #[test]
    fn behind_irq_enter_rcu_must_watch() {
        let told = probe(Point::IrqEnter, Mechanism::Fentry);
        assert_eq!(fired(&kernel(Generation::G5), &told, &idle(1, 0, 0, 0)), [("RW002", Severity::Error)]);
        assert_eq!(fired(&kernel(Generation::G5), &told, &idle(5, 0, 1, 0)), []);
    }

    #[test]
    fn the_irq_enter_of_2017_is_called_in_vain_in_its_windows() {
        let mut entry = probe(Point::IrqEnter, Mechanism::KprobeFtrace);
        entry.is_rcu_internal = true;
        let fired = |state, n| fired(&kernel(Generation::G0b), &entry, &idle(state, n, 0, 0));
        assert_eq!(fired(0, TASK_EXIT_IDLE), [("RW002", Severity::Error)]);
        assert_eq!(fired(2, 0), [("RW002", Severity::Error)]);
        assert_eq!(fired(0, 0), []);
        assert_eq!(fired(2, TASK_EXIT_IDLE), []);
    }

    #[test]
    fn interrupts_in_an_nmi_are_an_error() {
        let handler = probe(Point::NmiEnter, Mechanism::KprobeFtrace);
        let on = with_interrupts(true, in_task(4, 1, NI + 2, NMI));
        assert_eq!(fired(&kernel(Generation::G5), &handler, &on), [("RW005", Severity::Error)]);
        let off = with_interrupts(false, in_task(4, 1, NI + 2, NMI));
        assert_eq!(fired(&kernel(Generation::G5), &handler, &off), []);
    }

    #[test]
    fn interrupts_at_a_transition_are_an_error_and_in_a_softirq_are_not() {
        let watch = probe(Point::EqsEnter, Mechanism::Watchpoint);
        for (state, m) in [(5, 1), (4, 2)] {
            let on = with_interrupts(true, idle(state, 0, m, NMI));
            assert_eq!(fired(&kernel(Generation::G5), &watch, &on), [("RW005", Severity::Error)]);
            let off = with_interrupts(false, idle(state, 0, m, NMI));
            assert_eq!(fired(&kernel(Generation::G5), &watch, &off), []);
        }
        let softirq = probe(Point::FtraceFunction, Mechanism::KprobeFtrace);
        let on = with_interrupts(true, idle(5, 0, 1, 0x100));
        assert_eq!(fired(&kernel(Generation::G5), &softirq, &on), []);
        let irq = probe(Point::FtraceFunction, Mechanism::Fentry);
        let landed = idle(4, 1, 2, crate::rules::tests::HARDIRQ);
        assert!(fired(&kernel(Generation::G5), &irq, &landed).contains(&("RW005", Severity::Error)));
        // The #DB's own NMI bits are not those of the code that it interrupted.
        let momentary = with_interrupts(true, in_task(4, 1, NI + 2, NMI));
        assert_eq!(fired(&kernel(Generation::G5), &watch, &momentary), []);
    }
}
