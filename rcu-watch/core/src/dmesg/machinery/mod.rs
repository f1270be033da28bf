//! Which frames are the machinery that noticed, and which function is at fault.
//!
//! A complaint is noticed by something that everybody calls: a lock, printk, a tracepoint. Whoever called it ran where RCU
//! did not watch. The hard thing is that complaining calls the same machinery again, so one stack may hold several layers
//! of it: the outermost one is the cause, and what an interrupt brought is not.

mod table;

use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::frame::base;
use crate::dmesg::handler::is_handler;
use table::{ENTRIES, IDLE, INTERRUPTS, MACHINERY, NMIS, TRAPS};

fn is_among(name: &str, patterns: &[&str]) -> bool {
    let first = name.as_bytes().first();
    // Most patterns differ in their first letter, and no pattern begins with a `*`.
    patterns.iter().filter(|pattern| pattern.as_bytes().first() == first).any(|pattern| {
        match pattern.split_once('*') {
            Some((start, end)) => {
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }
            None => name == *pattern,
        }
    })
}

fn is_machinery(name: &str) -> bool {
    MACHINERY.iter().any(|(patterns, _)| is_among(name, patterns))
}

/// The table's row whose reason begins so.
fn is_that(name: &str, reason: &str) -> bool {
    MACHINERY.iter().any(|(patterns, why)| why.starts_with(reason) && is_among(name, patterns))
}

fn complains(name: &str) -> bool {
    name == "lockdep_rcu_suspicious" || is_that(name, "a WARN")
}

fn prints(name: &str) -> bool {
    is_among(
        name,
        &["printk*", "_printk*", "vprintk*", "dev_vprintk*", "dev_printk*", "__dev_printk", "_dev_*"],
    )
}

/// RCU's own bookkeeping, which a WARN in it names and whose caller is at fault.
fn counts(name: &str) -> bool {
    is_among(
        name,
        &[
            "ct_*",
            "__ct_*",
            "rcu_eqs_*",
            "rcu_idle_*",
            "rcu_irq_*",
            "rcu_nmi_*",
            "rcu_dynticks_*",
            "rcu_user_*",
        ],
    )
}

/// The function that ran with RCU off: the first real one under the outermost complaint on the stack.
pub(super) fn culprit(stack: &[String]) -> Option<&str> {
    let names: Vec<&str> = stack.iter().map(|frame| base(frame)).collect();
    // While it complains the kernel prints, and printing in an EQS makes it complain again.
    let first = names.iter().position(|name| complains(name));
    let mut start = names.iter().rposition(|name| complains(name)).map_or(0, |at| at + 1);
    let is_nested = first.is_some_and(|first| first + 1 < start);
    if start > 0 && is_that(names[start - 1], "a WARN") {
        start = skip(&names, start, |name| is_among(name, TRAPS) || complains(name));
    }
    let end = names[start..].iter().position(|name| is_interrupt(name)).map_or(names.len(), |at| start + at);
    if let Some(at) = names[start..end].iter().rposition(|name| prints(name)) {
        start += at + 1;
    }
    // What a handler calls is the handler's, and the function that it sits on is at fault.
    if let Some(at) =
        names[start..end].iter().rposition(|name| is_handler(name) && *name != "call_break_hook")
    {
        start = skip(&names, start + at + 1, |name| is_among(name, TRAPS));
    }
    let real = |name: &&&str| !(is_machinery(name) || (is_nested && counts(name)));
    names[start..].iter().find(real).or_else(|| names.iter().find(real)).copied()
}

fn skip(names: &[&str], start: usize, passes: impl Fn(&str) -> bool) -> usize {
    names[start..].iter().position(|name| !passes(name)).map_or(names.len(), |at| start + at)
}

/// Whether a complaint was called by the printing of another: by a WARN's report, or a stack's.
pub(super) fn is_of_printing(stack: &[String]) -> bool {
    let names: Vec<&str> = stack.iter().map(|frame| base(frame)).collect();
    let start = names.iter().position(|name| *name == "lockdep_rcu_suspicious").map_or(0, |at| at + 1);
    names[start..].iter().take_while(|name| !is_interrupt(name)).any(|name| {
        complains(name)
            || is_among(
                name,
                &["show_stack*", "show_trace*", "unwind_*", "kernel_text_address", "__kernel_text_address"],
            )
    })
}

pub(super) fn is_interrupt(name: &str) -> bool {
    is_among(name, INTERRUPTS)
}

/// Whether the stack is that of a CPU that idles, with nothing having interrupted it.
pub(super) fn is_idling(stack: &[String]) -> bool {
    let mut names = stack.iter().map(|frame| base(frame));
    let idle = names
        .by_ref()
        .take_while(|name| !is_interrupt(name) && !is_among(name, NMIS))
        .find(|name| is_among(name, IDLE));
    // `do_idle` itself calls much that RCU still watches: what it calls to stop the CPU is what it does not.
    idle.is_some_and(|name| !matches!(name, "do_idle" | "cpu_startup_entry" | "cpu_idle_loop" | "cpu_idle"))
}

/// Whether an interrupt's code runs over idle code, on a stack that ends in it.
pub(super) fn is_interrupted_idle(stack: &[String]) -> bool {
    let mut names = stack.iter().map(|frame| base(frame));
    names.any(is_interrupt) && names.any(|name| is_among(name, IDLE))
}

/// Whether a tracepoint may have run before RCU was told: idle code or an entry called it, and no NMI is on the stack.
pub(super) fn may_be_unwatched(stack: &[String]) -> bool {
    let mut names = stack.iter().map(|frame| base(frame));
    if names.clone().any(|name| is_among(name, NMIS)) {
        return false;
    }
    let caller = culprit(stack).unwrap_or("");
    let is_early = is_among(caller, ENTRIES) || is_interrupt(caller) || is_among(caller, IDLE);
    is_early || (names.all(|name| !is_interrupt(name)) && is_idling(stack))
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;

    use super::*;

    fn stack(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    fn at_fault(names: &str) -> Option<String> {
        culprit(&stack(names)).map(str::to_owned)
    }

    #[test]
    fn each_kind_of_machinery_is_passed_over_for_its_caller() {
        for (patterns, reason) in MACHINERY {
            for pattern in *patterns {
                let name = pattern.replace('*', "x");
                assert_eq!(
                    at_fault(&[&name, " real do_idle"].concat()).as_deref(),
                    Some("real"),
                    "{name}: {reason}"
                );
            }
        }
    }

    #[test]
    fn the_function_that_printed_is_at_fault_and_not_what_printing_calls() {
        let printing = "lockdep_rcu_suspicious lock_acquire down_trylock vprintk_emit _printk pseries_cpu_offline_self do_idle";
        assert_eq!(at_fault(printing).as_deref(), Some("pseries_cpu_offline_self"));
        // An interrupt that found the CPU printing is another matter.
        let over = "lockdep_rcu_suspicious lock_acquire tick sysvec_x asm_sysvec_x vprintk_emit _printk f";
        assert_eq!(at_fault(over).as_deref(), Some("tick"));
    }

    #[test]
    fn a_complaint_within_a_complaint_is_laid_to_the_outer_ones_cause() {
        let nested = "lockdep_rcu_suspicious lock_acquire _printk __warn report_bug handle_bug exc_invalid_op asm_exc_invalid_op ct_idle_exit cpuidle_enter_state do_idle";
        assert_eq!(at_fault(nested).as_deref(), Some("cpuidle_enter_state"));
        assert!(is_of_printing(&stack(nested)));
        assert_eq!(
            at_fault("lockdep_rcu_suspicious rcu_irq_exit_preempt idtentry_exit").as_deref(),
            Some("rcu_irq_exit_preempt")
        );
        assert!(!is_of_printing(&stack("dump_stack lockdep_rcu_suspicious lock_acquire f do_idle")));
    }

    #[test]
    fn the_function_that_a_handler_sits_on_is_at_fault() {
        for (names, function) in [
            (
                "trace_hardirqs_off trace_graph_return ftrace_return_to_handler return_to_handler default_idle_call",
                "default_idle_call",
            ),
            (
                "bpf_ringbuf_reserve bpf_prog_1_x bpf_trampoline_2 arch_cpu_idle default_idle_call",
                "arch_cpu_idle",
            ),
            (
                "kprobe_breakpoint_handler call_break_hook brk_handler do_debug_exception el1_dbg default_idle_call",
                "default_idle_call",
            ),
            ("lockdep_rcu_suspicious call_break_hook brk_handler do_debug_exception", "call_break_hook"),
        ] {
            assert_eq!(at_fault(names).as_deref(), Some(function), "{names}");
        }
    }

    #[test]
    fn an_interrupt_over_idle_is_known_from_idle() {
        let idle = stack("lock_acquire pwrdm_lock omap3_enter_idle_bm cpuidle_enter_state do_idle");
        let over =
            stack("lock_acquire __irq_resolve_mapping plat_irq_dispatch handle_int __r4k_wait do_idle");
        assert!(is_idling(&idle) && !is_interrupted_idle(&idle));
        assert!(!is_idling(&over) && is_interrupted_idle(&over));
        assert!(!is_idling(&stack("tick_nohz_idle_stop_tick do_idle")));
    }

    #[test]
    fn a_tracepoint_in_a_system_call_or_an_nmi_was_watched() {
        assert!(may_be_unwatched(&stack(
            "trace_hardirqs_off_finish irqentry_enter asm_sysvec_x default_idle do_idle"
        )));
        assert!(may_be_unwatched(&stack("trace_hardirqs_off __irq_svc cpu_idle_poll")));
        assert!(!may_be_unwatched(&stack(
            "trace_preempt_on preempt_count_sub percpu_up_read vfs_write el0_svc"
        )));
        assert!(!may_be_unwatched(&stack(
            "printk_sprint vprintk_store _printk nmi_handle default_do_nmi exc_nmi do_idle"
        )));
    }
}
