//! Which rule a complaint speaks of: by what the kernel checked there, which its message, its file and its line tell. The
//! kernel functions named here are those that complain, under their names from 3.0 on.

use alloc::string::String;

use crate::dmesg::headline::{Illegal, Kind, Warn, says_unwatched};
use crate::dmesg::machinery::{is_idling, is_interrupted_idle, may_be_unwatched};
use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, HandlerKind};

/// WARNs whose place says what is wrong; `.constprop` and the like taken off.
const WARNS: &[(&str, RuleId)] = &[
    // WARN_ON_ONCE on N and M, and on W against them: kernel/context_tracking.c, before 6.0 kernel/rcu/tree.c, before 3.13
    // kernel/rcutree.c.
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
    ("rcu_nmi_enter_common", RuleId::NestingImbalance),
    ("rcu_nmi_exit_common", RuleId::NestingImbalance),
    // 3.3 to 3.5, and to 3.2.
    ("rcu_idle_enter_common", RuleId::NestingImbalance),
    ("rcu_idle_exit_common", RuleId::NestingImbalance),
    ("rcu_enter_nohz", RuleId::NestingImbalance),
    ("rcu_exit_nohz", RuleId::NestingImbalance),
    // WARN on the state word itself, right after it was written.
    ("ct_kernel_enter_state", RuleId::StateDisagrees),
    ("ct_kernel_exit_state", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_enter", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_exit", RuleId::StateDisagrees),
    ("rcu_dynticks_eqs_online", RuleId::StateDisagrees),
    ("rcu_momentary_dyntick_idle", RuleId::StateDisagrees),
    ("rcu_momentary_eqs", RuleId::StateDisagrees),
    ("rcu_dynticks_momentary_idle", RuleId::StateDisagrees),
    // The context is not the one that is left: CT_WARN_ON in arch/x86/entry/common.c and kernel/entry/common.c.
    ("rcu_user_enter", RuleId::StateDisagrees),
    ("rcu_user_exit", RuleId::StateDisagrees),
    ("__ct_user_enter", RuleId::StateDisagrees),
    ("__ct_user_exit", RuleId::StateDisagrees),
    ("enter_from_user_mode", RuleId::StateDisagrees),
    ("syscall_enter_from_user_mode", RuleId::StateDisagrees),
    ("irqentry_enter_from_user_mode", RuleId::StateDisagrees),
    ("__enter_from_user_mode", RuleId::StateDisagrees),
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

/// Lines at which functions that check the counters check interrupts instead.
const IRQ_LINES: &[(&str, u32)] = &[
    // lockdep_assert_irqs_disabled() in kernel/rcu/tree.c of 5.19 (32d4fd5751ea).
    ("rcu_eqs_exit", 864),
];

/// From this kernel on lockdep_assert_irqs_disabled() prints no message of its own (a21ee6055c30), so that its absence says
/// nothing.
const MUTE_SINCE: (u32, u32) = (5, 9);

/// From this kernel on lockdep_rcu_suspicious() makes RCU watch before it prints, and no longer says that it did not.
const WATCHES_SINCE: (u32, u32) = (6, 3);

/// RCU_LOCKDEP_WARN texts that say more than that RCU was used.
const MESSAGES: &[(&str, RuleId)] = &[
    ("nesting counter underflow", RuleId::NestingImbalance),
    ("Bad RCU ", RuleId::NestingImbalance),
    ("didn't wake RCU", RuleId::UncountedContext),
    ("RCU in extended quiescent state", RuleId::UncountedContext),
    ("_enter didn't work", RuleId::IrqEnterNoEffect),
];

/// What the lines of a splat tell, besides its headline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub handlers: &'a [Handler],
    pub stack: &'a [String],
    /// The task that ran was the idle one, or the log does not say which.
    pub in_idle: bool,
    pub kernel: Option<&'a str>,
    /// Whether interrupts were on, by lockdep's message or by its stamps.
    pub irqs_on: Option<bool>,
    /// "RCU not watching for tracepoint"
    pub unwatched: bool,
}

impl Evidence<'_> {
    fn since(&self, kernel: (u32, u32)) -> Option<bool> {
        let mut parts = self.kernel?.split(['.', '-']);
        let this = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(this >= kernel)
    }

    fn has(&self, kind: HandlerKind) -> bool {
        self.handlers.iter().any(|handler| handler.kind == kind)
    }
}

/// Absent where the complaint is of another class.
pub(super) fn rule(kind: &Kind, seen: &Evidence<'_>) -> Option<(RuleId, Severity)> {
    let rule = match kind {
        Kind::Cut => return None,
        // ftrace skipped the handler; for a livepatch that is the old function having run.
        Kind::NotOn(_) if seen.has(HandlerKind::Livepatch) => RuleId::LivepatchBypassed,
        Kind::NotOn(_) | Kind::Unwatched => RuleId::HandlerDropped,
        Kind::Lockdep { message, illegal } => lockdep(message, *illegal, seen)?,
        Kind::LeakedIrq(_) => RuleId::IrqsOnInSection,
        Kind::Warn(warn) => warned(warn, seen)?,
        Kind::Stall(stall) => {
            let Some((_, rule, _)) = stall.contradiction() else {
                return Some((RuleId::GracePeriodHeld, stall.held_by().0));
            };
            rule
        }
    };
    let severity = match rule {
        RuleId::HandlerDropped => Severity::Warning,
        RuleId::RcuOffline if seen.handlers.is_empty() => Severity::Warning,
        _ => Severity::Error,
    };
    Some((rule, severity))
}

fn lockdep(message: &str, illegal: Option<Illegal>, seen: &Evidence<'_>) -> Option<RuleId> {
    if let Some(&(_, rule)) = MESSAGES.iter().find(|(text, _)| message.contains(text)) {
        return Some(rule);
    }
    if illegal == Some(Illegal::Offline) {
        return Some(RuleId::RcuOffline);
    }
    let is_unwatched = illegal.is_some()
        || says_unwatched(message)
        || is_tracepoints(message)
        || (seen.since(WATCHES_SINCE) == Some(true) && seen.in_idle && is_idling(seen.stack));
    if !is_unwatched {
        return None;
    }
    // A task that is not idle was in user space: its way into the kernel was not counted. Nor was that of an interrupt over
    // idle code, where nobody's handler ran.
    let is_uncounted = seen.handlers.is_empty() && (!seen.in_idle || is_interrupted_idle(seen.stack));
    Some(if is_uncounted { RuleId::UncountedContext } else { RuleId::HandlerUnwatched })
}

/// A tracepoint dereferences its list inside a reader of its own (include/linux/tracepoint.h), so that lockdep finds fault
/// with it only where RCU does not watch.
fn is_tracepoints(message: &str) -> bool {
    let file = message.split(':').next().unwrap_or("");
    file.ends_with(".h")
        && file.contains("trace")
        && message.contains("suspicious rcu_dereference_check() usage")
}

/// Whether a WARN is in a tracepoint's code, which its headers hold.
pub(super) fn is_of_tracepoint(warn: &Warn) -> bool {
    warn.file.contains("include/trace/")
}

fn warned(warn: &Warn, seen: &Evidence<'_>) -> Option<RuleId> {
    // A tracepoint that found RCU off: it warned and returned, and its handlers were not called. Its file has other WARNs.
    if is_of_tracepoint(warn) {
        let is_dropped = seen.unwatched || may_be_unwatched(seen.stack);
        return is_dropped.then_some(RuleId::HandlerDropped);
    }
    if seen.unwatched {
        return Some(RuleId::HandlerDropped);
    }
    let is_cut =
        |name: &&str| !warn.is_whole && warn.function.len() >= 4 && name.starts_with(&*warn.function);
    let &(name, rule) = WARNS
        .iter()
        .find(|(name, _)| *name == warn.function)
        .or_else(|| WARNS.iter().find(|(name, _)| is_cut(name)))?;
    let is_of_rcu = ["rcu", "context_tracking", "/entry/"].iter().any(|part| warn.file.contains(part));
    if !is_of_rcu {
        return None;
    }
    if seen.irqs_on == Some(true) || IRQ_LINES.contains(&(name, warn.line)) {
        return Some(RuleId::IrqsOnInSection);
    }
    // Where lockdep's message would be there, or there was no such check yet, the counters that are inlined there warned.
    let is_inlined = warn.is_old || seen.irqs_on == Some(false) || seen.since(MUTE_SINCE) == Some(false);
    Some(if rule == RuleId::IrqsOnInSection && is_inlined { RuleId::NestingImbalance } else { rule })
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::dmesg::Splat;
    use crate::dmesg::stall::Stall;
    use crate::probe::Reliance;
    use crate::rules::RULES;
    use crate::rules::tests::handler;

    fn warn(file: &str, function: &str, line: u32) -> Kind {
        let (file, function) = (file.to_owned(), function.to_owned());
        Kind::Warn(Warn { file, line, function, is_whole: true, is_old: false })
    }

    fn lockdep(message: &str, illegal: Option<Illegal>) -> Kind {
        Kind::Lockdep { message: message.to_owned(), illegal }
    }

    const NOTHING: Evidence<'static> =
        Evidence { handlers: &[], stack: &[], in_idle: true, kernel: None, irqs_on: None, unwatched: false };

    fn of(kind: &Kind, seen: &Evidence<'_>) -> Option<RuleId> {
        rule(kind, seen).map(|(rule, _)| rule)
    }

    #[test]
    fn the_rules_that_a_log_shows_are_those_of_the_table() {
        let messages = MESSAGES.iter().map(|(message, _)| lockdep(message, None));
        let warns = WARNS.iter().map(|(function, _)| warn("kernel/rcu/tree.c", function, 1));
        let kinds = messages.chain(warns).chain([
            lockdep("", Some(Illegal::Offline)),
            lockdep("", Some(Illegal::Eqs)),
            Kind::NotOn(String::new()),
            Kind::LeakedIrq(String::new()),
            Kind::Unwatched,
            Kind::Stall(Stall::default()),
        ]);
        let livepatch = [handler(HandlerKind::Livepatch, Reliance::Relies)];
        let ours = [Handler { ours: true, ..handler(HandlerKind::Bpf, Reliance::Relies) }];
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
            consequence_of: None,
        };
        let shows = |kind: &Kind, handlers: &[Handler], in_idle| {
            let seen = Evidence { handlers, in_idle, ..NOTHING };
            rule(kind, &seen).map(|judged| splat(judged, handlers).alone().rule)
        };
        let shown: BTreeSet<RuleId> = kinds
            .flat_map(|kind| {
                [shows(&kind, &[], false), shows(&kind, &livepatch, true), shows(&kind, &ours, true)]
            })
            .flatten()
            .collect();
        let told: BTreeSet<RuleId> = RULES.iter().filter(|rule| rule.in_logs).map(|rule| rule.id).collect();
        assert_eq!(shown, told);
    }

    #[test]
    fn a_warn_in_a_function_that_checks_interrupts_is_judged_by_what_it_checked() {
        let idle = warn("kernel/rcu/tree.c", "rcu_idle_enter", 569);
        let with = |kernel, irqs_on| of(&idle, &Evidence { kernel, irqs_on, ..NOTHING });
        assert_eq!(with(Some("5.4.10"), None), Some(RuleId::NestingImbalance));
        assert_eq!(with(Some("5.4.10"), Some(true)), Some(RuleId::IrqsOnInSection));
        assert_eq!(with(Some("5.10.1-rc2"), None), Some(RuleId::IrqsOnInSection));
        assert_eq!(with(Some("5.10.1"), Some(false)), Some(RuleId::NestingImbalance));
        let exit = |line| of(&warn("kernel/rcu/tree.c", "rcu_eqs_exit", line), &NOTHING);
        assert_eq!((exit(864), exit(700)), (Some(RuleId::IrqsOnInSection), Some(RuleId::NestingImbalance)));
    }

    #[test]
    fn a_warn_elsewhere_is_of_another_class_whatever_its_function() {
        assert_eq!(of(&warn("mm/page_alloc.c", "rcu_irq_enter", 1), &NOTHING), None);
        assert_eq!(of(&warn("include/trace/events/printk.h", "printk_sprint", 10), &NOTHING), None);
    }

    #[test]
    fn lockdep_in_idle_is_of_this_class_where_newer_kernels_no_longer_say_so() {
        let stack = ["f", "arch_cpu_idle", "default_idle_call", "do_idle"].map(str::to_owned);
        let suspicious = lockdep("net/x.c:1 suspicious rcu_dereference_check() usage!", None);
        let on = |kernel| of(&suspicious, &Evidence { stack: &stack, kernel: Some(kernel), ..NOTHING });
        assert_eq!((on("6.12.1"), on("6.1.9")), (Some(RuleId::HandlerUnwatched), None));
        let seen = Evidence { in_idle: false, ..NOTHING };
        let while_idle =
            lockdep("include/linux/rcupdate.h:850 rcu_read_lock() used illegally while idle!", None);
        assert_eq!(of(&while_idle, &seen), Some(RuleId::UncountedContext));
        let tracepoint =
            lockdep("include/trace/events/ipi.h:36 suspicious rcu_dereference_check() usage!", None);
        assert_eq!(of(&tracepoint, &NOTHING), Some(RuleId::HandlerUnwatched));
    }
}
