//! RW001, RW008, RW013 and RW015: a function ran while RCU was not watching, and what was on it.
//!
//! One observation, four meanings: a handler that relies on RCU ran (RW001), the kernel refused a livepatch
//! and the old function ran (RW008), it refused another handler (RW013), or nobody was hurt yet (RW015).

use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, HandlerKind, Mechanism, Point, Reliance};
use crate::vantage::Vantage;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    if !hit.kernel.calibration.eqs || hit.is_at(Point::Checkpoint) {
        return;
    }
    if !(hit.is_on_function() || hit.probe.mechanism == Mechanism::RawTracepoint) {
        return;
    }
    let mut ran = None;
    let mut harmless = None;
    let mut livepatch_refused = false;
    let mut other_refused = false;
    for handler in hit.foreign_handlers() {
        if is_refused(hit, handler) {
            verdicts.judging(if handler.kind == HandlerKind::Livepatch {
                livepatch_refused = true;
                RuleId::LivepatchBypassed
            } else {
                other_refused = true;
                RuleId::HandlerDropped
            });
        } else if handler.reliance == Reliance::Relies {
            verdicts.judging(RuleId::HandlerUnwatched);
            ran = ran.or(Some(handler.kind));
        } else {
            harmless = harmless.or(Some(handler.reliance));
        }
    }
    let tells_exposure = ran.is_none() && !livepatch_refused && !other_refused && tells_exposure(hit);
    if tells_exposure {
        verdicts.judging(RuleId::ExposedFunction);
    }
    if hit.under_watching {
        return;
    }
    if let Some(kind) = ran {
        fire(hit, verdicts, RuleId::HandlerUnwatched, Severity::Error, ran_because(hit, kind));
    }
    if livepatch_refused {
        fire(
            hit,
            verdicts,
            RuleId::LivepatchBypassed,
            Severity::Error,
            "ftrace refuses handlers while RCU is not watching: the old function ran instead of its patch",
        );
    }
    if other_refused {
        fire(
            hit,
            verdicts,
            RuleId::HandlerDropped,
            Severity::Warning,
            "the kernel skipped the handler because RCU was not watching, and counted nothing",
        );
    }
    if tells_exposure {
        fire(hit, verdicts, RuleId::ExposedFunction, Severity::Warning, exposed_because(hit, harmless));
    }
}

/// An ambiguous vantage may have been watched after all: info at most. A body that a livepatch replaced is entered with RCU
/// watching only while tasks are moved to the livepatch.
fn fire(hit: &Hit<'_>, verdicts: &mut Verdicts, rule: RuleId, severity: Severity, because: &'static str) {
    if hit.vantage == Vantage::Ambiguous && rule == RuleId::LivepatchBypassed {
        verdicts.fire(
            rule,
            Severity::Warning,
            "the old function ran: RCU was off, or an NMI or irq out of an EQS came in the middle of a transition",
        );
    } else if hit.vantage == Vantage::Ambiguous {
        verdicts.fire(
            rule,
            Severity::Info,
            "either int3 out of an EQS, or an optimised probe in an NMI or irq out of one",
        );
    } else {
        verdicts.fire(rule, severity, because);
    }
}

/// Whether a hit that was not watched means that the function is exposed.
///
/// Functions whose job it is to run there are not; and where the way into an irq or NMI should have made RCU
/// watch, an unwatched hit is a break of the entry code, which has rules of its own.
fn tells_exposure(hit: &Hit<'_>) -> bool {
    !hit.probe.is_rcu_internal
        && !matches!(
            hit.probe.point,
            Point::IrqEnter
                | Point::IrqExit
                | Point::NmiEnter
                | Point::NmiExit
                | Point::IstEnter
                | Point::IstExit
                | Point::Checkpoint
        )
}

/// Whether the kernel would not have called this handler while RCU was off.
///
/// d099dbfd3306 ("cpuidle: tracing: Warn about !rcu_is_watching()") made ftrace's recursion guard refuse, which
/// livepatches and tracers pass through and BPF trampolines do not. Kprobes pass through it where they are on ftrace's
/// site, and not where they are int3 or a jump: who lists them tells that as their reliance. e0a624919040
/// ("fprobe: ... check rcu_is_watching()") made fprobe skip.
fn is_refused(hit: &Hit<'_>, handler: &Handler) -> bool {
    handler.reliance == Reliance::SkippedByKernel
        || (hit.probe.ftrace_validates_rcu
            && handler.reliance == Reliance::Relies
            && matches!(handler.kind, HandlerKind::Livepatch | HandlerKind::FtraceOps))
}

fn ran_because(hit: &Hit<'_>, kind: HandlerKind) -> &'static str {
    if hit.probe.is_rcu_internal {
        return "the handler ran on the way into an irq, NMI or exception, before RCU was told of it";
    }
    match kind {
        HandlerKind::Livepatch => "the livepatch's replacement ran with RCU not watching",
        HandlerKind::FtraceOps => "the ftrace handler ran with RCU not watching",
        HandlerKind::Kprobe => "the kprobe's handler ran with RCU not watching",
        HandlerKind::Bpf => "the BPF program ran with RCU not watching",
    }
}

fn exposed_because(hit: &Hit<'_>, harmless: Option<Reliance>) -> &'static str {
    match harmless {
        None if hit.probe.mechanism == Mechanism::RawTracepoint => {
            "the tracepoint fired with RCU not watching; only our own probe is on it"
        }
        None => "the function ran with RCU not watching; only our own probe is on it",
        Some(Reliance::GuardsItself) => {
            "the function ran with RCU not watching; the handlers on it look first and skip"
        }
        Some(Reliance::EntryCounted) => {
            "the function ran with RCU not watching; the handlers on it run from an exception that was counted"
        }
        Some(_) => "the function ran with RCU not watching; the handlers on it do not use RCU",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;
    use crate::rules::tests::{HARDIRQ, NI, NMI, fired, handler, idle, in_task, kernel, probe, verdicts};

    #[test]
    fn a_livepatch_on_an_idle_function_is_an_error() {
        for (generation, state) in [(Generation::G2, 0), (Generation::G3, 2), (Generation::G4, 1)] {
            for mechanism in [Mechanism::Fentry, Mechanism::KprobeFtrace] {
                let mut probe = probe(Point::PatchedFunction, mechanism);
                probe.handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
                assert_eq!(
                    fired(&kernel(generation), &probe, &idle(state, 0, 0, 0)),
                    [("RW001", Severity::Error)]
                );
            }
        }
    }

    #[test]
    fn our_own_handler_is_only_an_exposed_function() {
        let mut probe = probe(Point::IdleVictim, Mechanism::Fentry);
        let mut ours = handler(HandlerKind::Bpf, Reliance::Relies);
        ours.ours = true;
        probe.handlers = vec![ours];
        assert_eq!(fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)), [("RW015", Severity::Warning)]);
    }

    #[test]
    fn handlers_that_need_no_rcu_leave_the_function_exposed() {
        for reliance in [Reliance::GuardsItself, Reliance::DoesNotRely, Reliance::EntryCounted] {
            let mut probe = probe(Point::FtraceFunction, Mechanism::Fentry);
            probe.handlers = vec![handler(HandlerKind::FtraceOps, reliance)];
            assert_eq!(
                fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)),
                [("RW015", Severity::Warning)]
            );
        }
    }

    #[test]
    fn a_function_whose_job_it_is_to_run_there_is_not_exposed_but_its_handlers_are() {
        let mut probe = probe(Point::EqsExit, Mechanism::Fentry);
        probe.is_rcu_internal = true;
        assert_eq!(fired(&kernel(Generation::G2), &probe, &idle(0, 0, 0, 0)), []);
        probe.handlers = vec![handler(HandlerKind::Bpf, Reliance::Relies)];
        assert_eq!(fired(&kernel(Generation::G2), &probe, &idle(0, 0, 0, 0)), [("RW001", Severity::Error)]);
    }

    #[test]
    fn a_refused_livepatch_is_bypassed_and_another_refused_handler_dropped() {
        let mut probe = probe(Point::PatchedFunction, Mechanism::Fentry);
        probe.ftrace_validates_rcu = true;
        probe.handlers = vec![
            handler(HandlerKind::Livepatch, Reliance::Relies),
            handler(HandlerKind::Kprobe, Reliance::SkippedByKernel),
        ];
        assert_eq!(
            fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)),
            [("RW008", Severity::Error), ("RW013", Severity::Warning)]
        );
        // A kprobe in the body, which was optimised to a jump, does not either.
        probe.handlers = vec![handler(HandlerKind::Kprobe, Reliance::Relies)];
        assert_eq!(fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)), [("RW001", Severity::Error)]);
        // A BPF trampoline does not pass through ftrace's guard.
        probe.handlers = vec![handler(HandlerKind::Bpf, Reliance::Relies)];
        assert_eq!(fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)), [("RW001", Severity::Error)]);
        probe.ftrace_validates_rcu = false;
        probe.handlers = vec![handler(HandlerKind::Bpf, Reliance::SkippedByKernel)];
        assert_eq!(fired(&kernel(Generation::G5), &probe, &idle(1, 0, 0, 0)), [("RW013", Severity::Warning)]);
    }

    #[test]
    fn the_old_body_that_a_probe_in_it_sees_run_with_rcu_off_was_not_replaced() {
        let mut probe = probe(Point::PatchedFunction, Mechanism::KprobeInt3);
        probe.ftrace_validates_rcu = true;
        probe.handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
        // Optimised to a jump, and before that.
        assert_eq!(fired(&kernel(Generation::G5), &probe, &idle(1, 0, 0, 0)), [("RW008", Severity::Error)]);
        assert_eq!(
            fired(&kernel(Generation::G5), &probe, &idle(5, 0, 1, NMI)),
            [("RW008", Severity::Warning)]
        );
        assert_eq!(fired(&kernel(Generation::G5), &probe, &in_task(4, 1, NI, 0)), []);
    }

    #[test]
    fn a_watched_handler_is_judged_and_clean() {
        let mut probe = probe(Point::PatchedFunction, Mechanism::Fentry);
        probe.handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
        let legal =
            [in_task(4, 1, NI, 0), idle(5, 0, 1, HARDIRQ), idle(5, 0, 1, 0), idle(5, 0, 3, NMI + HARDIRQ)];
        for snapshot in legal {
            let verdicts = verdicts(&kernel(Generation::G5), &probe, &snapshot);
            assert!(verdicts.is_empty(), "{verdicts:?}");
            assert!(verdicts.judged().contains(RuleId::HandlerUnwatched));
        }
    }

    #[test]
    fn int3_out_of_idle_is_info_at_most() {
        let probe = probe(Point::IdleVictim, Mechanism::KprobeInt3);
        assert_eq!(fired(&kernel(Generation::G4), &probe, &idle(5, 0, 1, NMI)), [("RW015", Severity::Info)]);
        // Optimised to a jump: the words are the function's own.
        assert_eq!(fired(&kernel(Generation::G4), &probe, &idle(1, 0, 0, 0)), [("RW015", Severity::Warning)]);
    }

    #[test]
    fn nothing_is_said_of_watching_before_an_eqs_was_seen() {
        let mut kernel = kernel(Generation::G4);
        kernel.calibration.eqs = false;
        let probe = probe(Point::IdleVictim, Mechanism::Fentry);
        assert!(!verdicts(&kernel, &probe, &idle(1, 0, 0, 0)).judged().contains(RuleId::ExposedFunction));
    }
}
