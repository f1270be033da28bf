//! RW010: an irq or NMI runs that RCU was not told of.
//!
//! The test goes one way only: P shows an irq or NMI, so M must count it. That M counts more than P shows is
//! legal (arm64 debug exceptions, unwinding in an EQS, 5.7's `ist_enter`).

use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::model::generation::{Base, TASK_EXIT_IDLE};
use crate::model::kernel::IrqCounting;
use crate::probe::{Mechanism, Point};

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let bits = hit.kernel.calibration;
    // RCU's own entry functions are called with the NMI bits set, to be told.
    if !(bits.nmi_bits && bits.hardirq_bits) || hit.probe.is_rcu_internal || hit.is_at_edge() {
        return;
    }
    // The write to S of an exception's own entry comes after P was told, and before M is.
    if hit.probe.mechanism == Mechanism::Watchpoint {
        return;
    }
    if hit.nmi_depth == 0 && !in_irq(hit) && hit.m() % 2 == 0 {
        return;
    }
    verdicts.judging(RuleId::UncountedContext);
    if let Some(because) = uncounted(hit) {
        verdicts.fire(RuleId::UncountedContext, Severity::Error, because);
    } else if hit.depth < i64::from(hit.nmi_depth) {
        // P is told before RCU is: a machine check in between finds one NMI more in P than in M.
        verdicts.fire(
            RuleId::UncountedContext,
            Severity::Info,
            "more NMIs run than M counts: legal only where each outer one was interrupted before it told RCU",
        );
    }
}

/// `irq_enter_rcu` runs before P shows the irq that it is called for.
fn in_irq(hit: &Hit<'_>) -> bool {
    hit.hardirq_depth > 0 || (hit.is_at(Point::IrqEnter) && hit.is_direct())
}

fn uncounted(hit: &Hit<'_>) -> Option<&'static str> {
    if !hit.watching && hit.nmi_depth > 0 {
        return Some("an NMI runs and RCU is not watching");
    }
    if !hit.watching && hit.hardirq_depth > 0 {
        return Some("an irq runs and RCU is not watching");
    }
    let nmis = i64::from(hit.nmi_depth);
    if hit.is_old_counting() {
        return uncounted_in_old(hit, nmis);
    }
    let rest = hit.kernel.generation.layout().rest_nmi_nesting;
    if hit.m() >= rest && (hit.m() - rest) % 2 != 0 {
        return Some("M is odd above its rest: something counted as out of an EQS while there was none");
    }
    if nmis > 0 && hit.depth == 0 {
        return Some("an NMI runs that M does not count");
    }
    let counted = match hit.kernel.irqs {
        IrqCounting::Every => true,
        IrqCounting::IdleTask => hit.snapshot.task.is_idle(),
    };
    (counted && nmis == 0 && in_irq(hit) && hit.base == Base::Kernel && hit.depth == 0)
        .then_some("an irq runs that M does not count")
}

/// Up to 4.15: NMIs in M, irqs in the low bits of N, and those inside an NMI in neither.
fn uncounted_in_old(hit: &Hit<'_>, nmis: i64) -> Option<&'static str> {
    if nmis > 0 && hit.depth == 0 {
        return Some("an NMI runs that M does not count");
    }
    (nmis == 0 && in_irq(hit) && hit.m() == 0 && (hit.n() == TASK_EXIT_IDLE || hit.n() == 0))
        .then_some("an irq runs that N does not count")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;
    use crate::probe::Mechanism;
    use crate::rules::tests::{HARDIRQ, NI, NMI, fired, idle, in_task, kernel, probe};
    use crate::snapshot::Snapshot;

    fn is_uncounted(generation: Generation, snapshot: &Snapshot<'_>) -> bool {
        fired(&kernel(generation), &probe(Point::NmiEnter, Mechanism::RawTracepoint), snapshot)
            .contains(&("RW010", Severity::Error))
    }

    #[test]
    fn an_nmi_or_irq_without_rcu_is_uncounted() {
        assert!(is_uncounted(Generation::G5, &idle(1, 0, 0, NMI)));
        assert!(is_uncounted(Generation::G5, &idle(1, 0, 0, HARDIRQ)));
        assert!(is_uncounted(Generation::G0b, &idle(0, 0, 0, NMI)));
    }

    #[test]
    fn m_must_count_every_nmi_that_p_shows() {
        let generation = Generation::G5;
        assert!(is_uncounted(generation, &in_task(4, 1, NI, NMI)));
        assert!(is_uncounted(generation, &idle(4, 1, 0, NMI)));
        assert!(!is_uncounted(generation, &in_task(4, 1, NI + 4, NMI + NMI)));
        assert!(!is_uncounted(generation, &idle(5, 0, 3, NMI + NMI)));
        assert!(!is_uncounted(generation, &idle(4, 0, 2, NMI)));
    }

    #[test]
    fn a_machine_check_in_the_way_into_an_nmi_is_no_break() {
        let nmi = probe(Point::NmiEnter, Mechanism::Fentry);
        for snapshot in [in_task(4, 1, NI + 2, NMI + NMI), idle(5, 0, 1, NMI + NMI)] {
            assert_eq!(fired(&kernel(Generation::G5), &nmi, &snapshot), [("RW010", Severity::Info)]);
        }
    }

    #[test]
    fn irqs_count_in_the_idle_task_always_and_elsewhere_only_before_5_8() {
        assert!(is_uncounted(Generation::G5, &idle(4, 1, NI, HARDIRQ)));
        assert!(!is_uncounted(Generation::G5, &in_task(4, 1, NI, HARDIRQ)));
        assert!(is_uncounted(Generation::G1, &in_task(2, 1, NI, HARDIRQ)));
        assert!(!is_uncounted(Generation::G1, &in_task(2, 1, NI + 2, HARDIRQ)));
    }

    #[test]
    fn a_softirq_in_the_idle_task_need_not_be_counted() {
        assert!(!is_uncounted(Generation::G5, &idle(4, 1, NI, 0x100)));
    }

    #[test]
    fn an_odd_step_above_rest_was_counted_out_of_no_eqs() {
        assert!(is_uncounted(Generation::G5, &in_task(4, 1, NI + 1, 0)));
    }

    #[test]
    fn the_words_of_2017_count_irqs_in_n() {
        assert!(is_uncounted(Generation::G0b, &in_task(2, TASK_EXIT_IDLE, 0, HARDIRQ)));
        assert!(!is_uncounted(Generation::G0b, &in_task(2, TASK_EXIT_IDLE + 1, 0, HARDIRQ)));
        assert!(is_uncounted(Generation::G0b, &in_task(2, TASK_EXIT_IDLE, 0, NMI)));
        assert!(!is_uncounted(Generation::G0b, &in_task(2, TASK_EXIT_IDLE, 2, NMI)));
    }

    #[test]
    fn without_known_bits_of_p_nothing_is_judged() {
        let mut kernel = kernel(Generation::G5);
        kernel.calibration.nmi_bits = false;
        let probe = probe(Point::NmiEnter, Mechanism::Fentry);
        assert!(!fired(&kernel, &probe, &in_task(4, 1, NI, NMI)).contains(&("RW010", Severity::Error)));
    }
}
