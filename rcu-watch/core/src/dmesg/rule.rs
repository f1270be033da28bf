//! Which rule a complaint speaks of. The kernel functions named here are those that complain.

use alloc::string::String;

use crate::dmesg::backtrace::base;
use crate::dmesg::splat::{Illegal, Kind};
use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, HandlerKind};

/// WARNs whose place says what is wrong; `.constprop` and the like taken off.
const WARNS: &[(&str, RuleId)] = &[
    // WARN_ON_ONCE on N and M, and on W against them: kernel/context_tracking.c, before 6.0 kernel/rcu/tree.c.
    ("ct_kernel_enter", RuleId::NestingImbalance),
    ("ct_kernel_exit", RuleId::NestingImbalance),
    ("ct_nmi_enter", RuleId::NestingImbalance),
    ("ct_nmi_exit", RuleId::NestingImbalance),
    ("rcu_eqs_enter", RuleId::NestingImbalance),
    ("rcu_eqs_exit", RuleId::NestingImbalance),
    ("rcu_eqs_enter_common", RuleId::NestingImbalance),
    ("rcu_eqs_exit_common", RuleId::NestingImbalance),
    ("rcu_nmi_enter", RuleId::NestingImbalance),
    ("rcu_nmi_exit", RuleId::NestingImbalance),
    // WARN on the state word itself, right after it was written.
    ("ct_kernel_enter_state", RuleId::StateDisagrees),
    ("ct_kernel_exit_state", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_enter", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_exit", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_online", RuleId::StateDisagrees),
    // These check one thing themselves: that interrupts are off.
    ("ct_idle_enter", RuleId::IrqsOnInSection),
    ("ct_idle_exit", RuleId::IrqsOnInSection),
    ("rcu_idle_enter", RuleId::IrqsOnInSection),
    ("rcu_idle_exit", RuleId::IrqsOnInSection),
    ("ct_irq_enter", RuleId::IrqsOnInSection),
    ("ct_irq_exit", RuleId::IrqsOnInSection),
    ("rcu_irq_enter", RuleId::IrqsOnInSection),
    ("rcu_irq_exit", RuleId::IrqsOnInSection),
];

/// RCU_LOCKDEP_WARN texts that say more than that RCU was used.
const MESSAGES: &[(&str, RuleId)] = &[
    ("nesting counter underflow", RuleId::NestingImbalance),
    ("didn't wake RCU", RuleId::UncountedContext),
    ("RCU in extended quiescent state", RuleId::UncountedContext),
    ("_enter didn't work", RuleId::IrqEnterNoEffect),
];

/// Absent where the complaint is of another class.
pub(super) fn rule(kind: &Kind, handlers: &[Handler], in_idle: bool) -> Option<(RuleId, Severity)> {
    let rule = match kind {
        // ftrace skipped the handler; for a livepatch that is the old function having run.
        Kind::NotOn(_) if handlers.iter().any(|handler| handler.kind == HandlerKind::Livepatch) => {
            RuleId::LivepatchBypassed
        }
        Kind::NotOn(_) => RuleId::HandlerDropped,
        Kind::Lockdep { message, illegal } => {
            let says_more = MESSAGES.iter().find(|(text, _)| message.contains(text)).map(|&(_, rule)| rule);
            match (says_more, illegal) {
                (Some(rule), _) => rule,
                (None, Some(Illegal::Offline)) => RuleId::RcuOffline,
                // A task that is not idle was in user space: its way into the kernel was not counted.
                (None, Some(Illegal::Eqs)) if !in_idle && handlers.is_empty() => RuleId::UncountedContext,
                (None, Some(Illegal::Eqs)) => RuleId::HandlerUnwatched,
                (None, None) => return None,
            }
        }
        Kind::LeakedIrq(_) => RuleId::IrqsOnInSection,
        // A tracepoint that found RCU off: it warned and returned, and its handlers were not called.
        Kind::Warn { file, .. } if file.contains("include/trace/events/") => RuleId::HandlerDropped,
        Kind::Warn { function, .. } => WARNS.iter().find(|(name, _)| *name == base(function))?.1,
    };
    let severity = match rule {
        RuleId::HandlerDropped => Severity::Warning,
        RuleId::RcuOffline if handlers.is_empty() => Severity::Warning,
        _ => Severity::Error,
    };
    Some((rule, severity))
}

/// Frames of the machinery that complains, locks and prints: not what ran where it should not.
fn is_machinery(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "dump_",
        "__dump_stack",
        "show_stack",
        "show_trace",
        "unwind_",
        "lockdep_",
        "lock_",
        "__lock_",
        "_raw_",
        "__raw_",
        "trace_",
        "__trace_",
        "rcu_read_",
        "__rcu_read_",
        "__warn",
        "report_bug",
        "handle_bug",
        "exc_invalid_op",
        "asm_exc_invalid_op",
        "bug_handler",
        "call_trace",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The function that ran with RCU off: the first real one under the outermost complaint on the stack.
pub(super) fn culprit(stack: &[String]) -> Option<&str> {
    // While it complains the kernel prints, and printing in an EQS makes it complain again.
    let complains =
        |frame: &String| matches!(base(frame), "lockdep_rcu_suspicious" | "__warn" | "asm_exc_invalid_op");
    let start = stack.iter().rposition(complains).map_or(0, |at| at + 1);
    // A program that complains was called by a trampoline, and that by the function that it is on.
    let is_trampoline = |frame: &String| frame.starts_with("bpf_trampoline_");
    let start = stack[start..].iter().position(is_trampoline).map_or(start, |at| start + at + 1);
    stack[start..].iter().map(|frame| base(frame)).find(|name| !is_machinery(name))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::dmesg::Splat;
    use crate::probe::Reliance;
    use crate::rules::RULES;
    use crate::rules::tests::handler;

    #[test]
    fn the_rules_that_a_log_shows_are_those_of_the_table() {
        let lockdep = |message: &str, illegal| Kind::Lockdep { message: message.to_owned(), illegal };
        let warn =
            |file: &str, function: &str| Kind::Warn { file: file.to_owned(), function: function.to_owned() };
        let messages = MESSAGES.iter().map(|(message, _)| lockdep(message, None));
        let warns = WARNS.iter().map(|(function, _)| warn("kernel/rcu/tree.c", function));
        let kinds = messages.chain(warns).chain([
            lockdep("", Some(Illegal::Offline)),
            lockdep("", Some(Illegal::Eqs)),
            Kind::NotOn(String::new()),
            Kind::LeakedIrq(String::new()),
            warn("include/trace/events/power.h", ""),
        ]);
        let livepatch = [handler(HandlerKind::Livepatch, Reliance::Relies)];
        let ours = Handler { ours: true, ..handler(HandlerKind::Bpf, Reliance::Relies) };
        let splat = |(rule, severity), handlers: &[Handler]| Splat {
            rule,
            severity,
            said: String::new(),
            kernel: None,
            function: String::new(),
            handlers: handlers.to_vec(),
            ts: None,
            cpu: None,
            task: None,
            stack: Vec::new(),
            line: 1,
        };
        let shows = |kind: &Kind, handlers: &[Handler], in_idle| {
            rule(kind, handlers, in_idle).map(|judged| splat(judged, handlers).alone().rule)
        };
        let shown: BTreeSet<RuleId> = kinds
            .flat_map(|kind| {
                let ours = shows(&kind, core::slice::from_ref(&ours), true);
                [shows(&kind, &[], false), shows(&kind, &livepatch, true), ours]
            })
            .flatten()
            .collect();
        let told: BTreeSet<RuleId> = RULES.iter().filter(|rule| rule.in_logs).map(|rule| rule.id).collect();
        assert_eq!(shown, told);
    }
}
