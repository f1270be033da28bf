//! What the kernel says while a run is under way, held against what the run's own probes saw.
//!
//! Where both saw the same, the kernel's word confirms ours. Where only the kernel did, that is a break all the same, and
//! a blind spot of ours besides: both are said. The kernel knows more of what ran, we know more of whose it is: a splat
//! names ftrace's own functions, and the lists that a run reads name the handlers.

use alloc::format;
use alloc::vec::Vec;

use crate::condition::Condition;
use crate::dmesg::frame::base;
use crate::dmesg::{Splat, Task};
use crate::finding::{RuleId, Severity};
use crate::pipeline::{Pipeline, Total};
use crate::probe::{Handler, HandlerKind};
use crate::report::finding::{Source, StackFrame, TaskReport};
use crate::units::Nanos;

/// A splat is read up to two seconds after it was printed, and most kinds are printed once a boot.
const TOGETHER: Nanos = Nanos(5_000_000_000);

impl Splat {
    /// What the log alone says.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let Self { rule, severity, said, function, handlers, cpu, task, stack, .. } = self;
        let stack = stack.iter().map(|frame| StackFrame { address: None, symbol: Some(frame.clone()) });
        Condition {
            handlers: handlers.clone(),
            source: Source::Kernel,
            cpu: *cpu,
            task: task.as_ref().map(task_report),
            stack: stack.collect(),
            key: said.clone(),
            ..Condition::new(*rule, *severity, function.clone(), said.clone())
        }
    }
}

fn task_report(task: &Task) -> TaskReport {
    let Task { pid, comm } = task;
    TaskReport { pid: *pid, tgid: *pid, comm: comm.clone(), idle: *pid == 0 }
}

/// What the kernel said at about `now`, after all that our probes saw until then went into the pipeline.
#[must_use]
pub fn joined(mut condition: Condition, now: Nanos, pipeline: &Pipeline) -> Condition {
    let is_of_function = |symbol: &str| base(symbol) == base(&condition.function);
    let mut probes = pipeline.probes().filter(|(_, probe)| is_of_function(&probe.symbol)).peekable();
    let is_probed = probes.peek().is_some();
    let known: Vec<Handler> = probes.flat_map(|(_, probe)| probe.handlers.iter().cloned()).collect();
    let is_seen = pipeline.totals().iter().any(|total| is_same(total, &condition, now));
    if !known.is_empty() {
        condition.handlers = known;
    }
    let is_ours = !condition.handlers.iter().any(|handler| !handler.ours)
        && (is_probed || !condition.handlers.is_empty());
    let is_livepatched = condition.handlers.iter().any(|handler| handler.kind == HandlerKind::Livepatch);
    match condition.rule {
        RuleId::HandlerDropped if is_livepatched => {
            condition.rule = RuleId::LivepatchBypassed;
            condition.severity = Severity::Error;
        }
        // A probe of ours hooked it: nobody else is hurt.
        RuleId::HandlerDropped | RuleId::HandlerUnwatched if is_ours => {
            condition.rule = RuleId::ExposedFunction;
            condition.severity = Severity::Warning;
        }
        _ => {}
    }
    let said = &condition.because;
    condition.because = if is_seen {
        format!("the kernel confirms it: {said}")
    } else if is_probed {
        format!("the kernel saw it, our probes did not: {said}")
    } else {
        format!("the kernel saw it, and no probe of ours is there: {said}")
    };
    // What was told as ours alone, or as the kernel's alone, is told anew once both say it.
    condition.key = [if is_seen { "both " } else { "kernel " }, &condition.key].concat();
    condition
}

/// Whether a probe saw what the kernel complains of.
fn is_same(total: &Total, condition: &Condition, now: Nanos) -> bool {
    let is_together = total.last_ts.0.abs_diff(now.0) <= TOGETHER.0;
    // The kernel complains of these where it counts, we where it shows.
    let is_of_cpu = matches!(
        condition.rule,
        RuleId::NestingImbalance
            | RuleId::StateDisagrees
            | RuleId::IrqsOnInSection
            | RuleId::UncountedContext
            | RuleId::IrqEnterNoEffect
    );
    let is_it =
        base(&total.function) == base(&condition.function) || (is_of_cpu && total.rule == condition.rule);
    total.probe.is_some() && !total.synthetic && is_together && is_it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::dmesg::Parser;
    use crate::model::generation::Generation;
    use crate::pipeline::{Finding, Listener};
    use crate::probe::{Mechanism, Point, Probe, Reliance};
    use crate::rules::tests::{handler, idle, kernel, probe};
    use crate::snapshot::Snapshot;

    struct Deaf;

    impl Listener for Deaf {
        fn finding(&mut self, _finding: &Finding<'_>) {}
    }

    fn said(lines: &[&str]) -> Condition {
        let mut parser = Parser::default();
        assert!(lines.iter().all(|line| parser.line(line).is_empty()));
        parser.finish().remove(0).condition()
    }

    fn not_on(function: &str) -> Condition {
        said(&[
            &format!("[    7.0] RCU not on for: {function}+0x0/0x20"),
            "Call Trace:",
            " arch_ftrace_ops_list_func+0x1/0x2",
        ])
    }

    /// A run with this probe, which saw RCU off in idle at 1 s.
    fn run(probe: Option<Probe>, saw: bool) -> Pipeline {
        let mut pipeline = Pipeline::new(kernel(Generation::G4), probe.into_iter().collect());
        if saw {
            let snapshot = Snapshot { ts: Nanos(1_000_000_000), ..idle(1, 0, 0, 0) };
            pipeline.push(&encode(&snapshot), &mut Deaf);
            assert_eq!(pipeline.totals().len(), 1);
        }
        pipeline
    }

    fn patched() -> Probe {
        let handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
        Probe { handlers, ..probe(Point::PatchedFunction, Mechanism::KprobeFtrace) }
    }

    #[test]
    fn what_both_saw_of_a_function_within_seconds_is_confirmed_and_else_the_kernels_alone() {
        let at = |seconds: u64| {
            joined(
                not_on("arch_cpu_idle.isra.0"),
                Nanos(seconds * 1_000_000_000),
                &run(Some(patched()), true),
            )
        };
        assert!(at(3).because.starts_with("the kernel confirms it: RCU not on"), "{}", at(3).because);
        assert!(at(60).because.starts_with("the kernel saw it, our probes did not: "), "{}", at(60).because);
        assert_ne!(at(3).key, at(60).key);
        assert_eq!(at(3).source, Source::Kernel);
    }

    #[test]
    fn a_function_without_a_probe_of_ours_is_said_to_be_one() {
        let alone = joined(not_on("mktime64"), Nanos(2_000_000_000), &run(Some(patched()), true));
        assert!(
            alone.because.starts_with("the kernel saw it, and no probe of ours is there: "),
            "{}",
            alone.because
        );
        assert_eq!((alone.rule, alone.severity), (RuleId::HandlerDropped, Severity::Warning));
    }

    #[test]
    fn a_handler_that_was_skipped_where_a_livepatch_sits_is_the_old_function_having_run() {
        let bypassed = joined(not_on("arch_cpu_idle"), Nanos(0), &run(Some(patched()), false));
        assert_eq!((bypassed.rule, bypassed.severity), (RuleId::LivepatchBypassed, Severity::Error));
        assert_eq!(bypassed.handlers, patched().handlers);
    }

    #[test]
    fn a_probe_of_ours_that_was_skipped_hurts_nobody() {
        let alone = probe(Point::IdleVictim, Mechanism::KprobeFtrace);
        let exposed = joined(not_on("arch_cpu_idle"), Nanos(0), &run(Some(alone), false));
        assert_eq!((exposed.rule, exposed.severity), (RuleId::ExposedFunction, Severity::Warning));
    }

    #[test]
    fn a_count_that_the_kernel_misses_is_the_one_that_we_miss_wherever_we_saw_it() {
        let warned =
            said(&["WARNING: CPU: 1 PID: 7 at kernel/context_tracking.c:127 ct_kernel_exit+0x1/0x2"]);
        assert_eq!(warned.rule, RuleId::NestingImbalance);
        let mut pipeline =
            Pipeline::new(kernel(Generation::G4), vec![probe(Point::Checkpoint, Mechanism::RawTracepoint)]);
        pipeline.push(&encode(&crate::rules::tests::in_task(4, -1, 0, 0)), &mut Deaf);
        assert!(pipeline.totals().iter().any(|total| total.rule == RuleId::NestingImbalance));
        assert!(joined(warned, Nanos(0), &pipeline).because.starts_with("the kernel confirms it: "));
    }
}
