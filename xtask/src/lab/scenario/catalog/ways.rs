//! Every other way into an EQS: modules that enter a real one or spoil the words, exceptions, NMIs, the kernel's
//! own tracers, CPUs that go and come back, and what a watchpoint sees of all that.
//!
//! What is waited for is what the stream says, never a time: a guest may be as slow as it likes.

use std::time::Duration;

use rcu_watch_core::probe::{HandlerKind, Point};
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::breaks::EXPOSED_IDLE;
use super::steps::{
    ALL, EQS_ACT, EXPOSED, IDLE_IS_NOINSTR, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, load,
    read, run, signal, spawn, unload, until, wait, write,
};

const STATE_ACT: &str = "/sys/module/lab_state/parameters/act";
const TRACING: &str = "/sys/kernel/tracing";
const DYNAMIC_EVENTS: &str = "/sys/kernel/tracing/dynamic_events";
const DROPPED: &str = "/sys/kernel/tracing/events/lab/dropped/enable";
const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";
const STACK_TRACER: &str = "/proc/sys/kernel/stack_tracer_enabled";

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "watchpoints",
        about: "watchpoints on S over a fork load: every way in has its way out, and nothing is wrong",
        kernels: ALL,
        heavy: true,
        steps: || {
            vec![
                spawn("load", "lab-load 600 2"),
                run("always", "rcu-watch -d 8s --watchpoints always -f json"),
                run("sample", "rcu-watch -d 12s --watchpoints sample -f json"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::of("always", Check::Unbroken),
            Expect::of("always", Check::Stream),
            Expect::of("always", Check::NoFinding),
            Expect::of("always", Check::Judged(RuleId::IrqsOnInSection)),
            Expect::of("always", Check::Judged(RuleId::UnknownWriter)),
            Expect::of("always", Check::Transitions { at_least: 1000 }),
            Expect::of("sample", Check::Unbroken),
            Expect::of("sample", Check::Stream),
            Expect::of("sample", Check::NoFinding),
            Expect::of("sample", Check::Transitions { at_least: 10 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "eqs-module",
        about: "a module calls a function with a foreign kprobe from a real EQS: a break on any kernel",
        kernels: ALL,
        modules: &["lab_eqs"],
        steps: || {
            vec![
                load("lab_eqs"),
                write(KPROBE_EVENTS, "p:lab/site lab_eqs:lab_eqs_target"),
                write(KPROBE_ENABLE, "1"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                write(EQS_ACT, "call"),
                await_text("watch", "\"RW001\""),
                signal("watch", SIGINT),
                wait("watch"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
                unload("lab_eqs"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(IN_A_REAL_EQS)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "fprobe-drop",
        about: "an fprobe on a function that a module calls from a real EQS: the kernel skips it and says nothing",
        kernels: &["sid"],
        modules: &["lab_eqs"],
        heavy: true,
        elsewhere: "fprobe is not built in, or calls its handlers whatever RCU does",
        steps: || {
            vec![
                load("lab_eqs"),
                write(DYNAMIC_EVENTS, "f:lab/dropped lab_eqs_target"),
                write(DROPPED, "1"),
                spawn("watch", "rcu-watch --require RW013 -f json"),
                await_text("watch", "\"header\""),
                write(EQS_ACT, "call"),
                await_text("watch", "\"RW013\""),
                // With our own probe beside it, the kernel names it no more; it stays what it was.
                await_text("watch", "\"heartbeat\""),
                write(EQS_ACT, "call"),
                signal("watch", SIGINT),
                wait("watch"),
                read("trace", "/sys/kernel/tracing/trace"),
                write(DROPPED, "0"),
                write(DYNAMIC_EVENTS, ""),
                unload("lab_eqs"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Unbroken),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Judged(RuleId::HandlerDropped)),
            Expect::of("watch", Check::Finding(DROPPED_FPROBE)),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("trace", Check::Without(&["dropped:"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "leak-module",
        about: "M left too deep, N and M left zero, an NMI that M does not count: each is told apart",
        kernels: ALL,
        modules: &["lab_state"],
        steps: || {
            vec![
                load("lab_state"),
                write(KPROBE_EVENTS, "p:lab/site lab_state:lab_state_target"),
                write(KPROBE_ENABLE, "1"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                write(STATE_ACT, "leak"),
                write(STATE_ACT, "zero"),
                write(STATE_ACT, "nmi"),
                await_text("watch", "\"RW006\""),
                await_text("watch", "\"RW007\""),
                await_text("watch", "\"RW010\""),
                signal("watch", SIGINT),
                wait("watch"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
                // The words are back at rest.
                run("after", "rcu-watch -d 4s -f json"),
                unload("lab_state"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(broken(RuleId::NestingImbalance, "sched_switch"))),
            Expect::of("watch", Check::Finding(broken(RuleId::StateDisagrees, "sched_switch"))),
            Expect::of(
                "watch",
                Check::Finding(Finding {
                    handler: Some((HandlerKind::Kprobe, "lab_state_target+*")),
                    ..broken(RuleId::UncountedContext, "lab_state_target")
                }),
            ),
            Expect::of("after", Check::Exit(0)),
            Expect::of("after", Check::NoFinding),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "foreign-writer",
        about: "a module writes S: a watchpoint names the instruction",
        kernels: ALL,
        modules: &["lab_state"],
        steps: || {
            vec![
                load("lab_state"),
                spawn("watch", "rcu-watch --watchpoints always -f json"),
                await_text("watch", "\"header\""),
                write(STATE_ACT, "write"),
                await_text("watch", "\"RW012\""),
                signal("watch", SIGINT),
                wait("watch"),
                unload("lab_state"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::UnknownWriter, severity: Severity::Error }),
            Expect::of("watch", Check::Line(&["RW012", "lab_state_write", "[lab_state]"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "irqs-on",
        about: "a module enters an EQS with interrupts on: a watchpoint sees it",
        kernels: ALL,
        modules: &["lab_eqs"],
        // An emulated processor can be stopped within the module's EQS until a tick is due there. What warns is
        // rcu_is_cpu_rrupt_from_idle(), which compilers put into its callers.
        provokes: Some("kernel/rcu/tree.c:"),
        steps: || {
            vec![
                load("lab_eqs"),
                spawn("watch", "rcu-watch --watchpoints always -f json"),
                await_text("watch", "\"header\""),
                write(EQS_ACT, "irqs_on"),
                await_text("watch", "\"RW005\""),
                signal("watch", SIGINT),
                wait("watch"),
                unload("lab_eqs"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::IrqsOnInSection, severity: Severity::Error }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "nmi-storm",
        about: "a hundred NMIs from outside and backtraces of every CPU: all counted, nothing broken",
        kernels: ALL,
        steps: || {
            let mut steps = vec![spawn("watch", "rcu-watch -f json"), await_text("watch", "\"header\"")];
            for round in 0..100 {
                steps.push(Step::Monitor { command: "nmi".into() });
                steps.push(Step::Sleep { time: Duration::from_millis(50) });
                if round % 20 == 0 {
                    steps.push(write("/proc/sysrq-trigger", "l"));
                }
            }
            steps.extend([signal("watch", SIGINT), wait("watch")]);
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            // RW009, that one hit a window, is no break.
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::NoneOf(Severity::Warning)),
            Expect::of("watch", Check::Hits { point: Point::NmiEnter, at_least: 100 }),
            Expect::of("watch", Check::Judged(RuleId::UncountedContext)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "int3-idle",
        about: "a kprobe inside arch_cpu_idle runs from int3, which RCU counts: exposed, not broken",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write("/proc/sys/debug/kprobes-optimization", "0"),
                write(KPROBE_EVENTS, "p:lab/site arch_cpu_idle+5"),
                write(KPROBE_ENABLE, "1"),
                run("watch", "rcu-watch -d 6s -f json"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
                write("/proc/sys/debug/kprobes-optimization", "1"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of(
                "watch",
                Check::Finding(Finding {
                    handler: Some((HandlerKind::Kprobe, "arch_cpu_idle+0x5")),
                    ..EXPOSED_IDLE
                }),
            ),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "stack-tracer",
        about: "the thread's own case: the stack tracer, which has looked first since then",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write(&format!("{TRACING}/stack_trace_filter"), "arch_cpu_idle"),
                write(STACK_TRACER, "1"),
                run("watch", "rcu-watch -d 6s -f json"),
                write(STACK_TRACER, "0"),
                write(&format!("{TRACING}/stack_trace_filter"), ""),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of(
                "watch",
                Check::Finding(Finding {
                    handler: Some((HandlerKind::FtraceOps, "stack_trace_call")),
                    ..EXPOSED_IDLE
                }),
            ),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "func-stack-trace",
        about: "the function tracer takes a stack in idle, and wakes RCU for it on purpose",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write(&format!("{TRACING}/set_ftrace_filter"), "arch_cpu_idle"),
                write(&format!("{TRACING}/current_tracer"), "function"),
                write(&format!("{TRACING}/options/func_stack_trace"), "1"),
                run("watch", "rcu-watch -d 6s -f json"),
                write(&format!("{TRACING}/options/func_stack_trace"), "0"),
                write(&format!("{TRACING}/current_tracer"), "nop"),
                write(&format!("{TRACING}/set_ftrace_filter"), ""),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(EXPOSED_IDLE_TO_TRACER)),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "hotplug",
        about: "a CPU goes and comes back: nothing is broken, and what runs when RCU has let go of it is named",
        kernels: ALL,
        steps: || {
            vec![
                spawn("watch", "rcu-watch --watchpoints always -f json"),
                await_text("watch", "\"header\""),
                write(CPU1, "0"),
                await_text("watch", "went offline"),
                write(CPU1, "1"),
                signal("watch", SIGINT),
                wait("watch"),
                spawn("exposed", "rcu-watch --exposed -f json"),
                await_text("exposed", "\"header\""),
                write(CPU1, "0"),
                await_text("exposed", "\"RW011\""),
                write(CPU1, "1"),
                until(CPU1, "1"),
                signal("exposed", SIGINT),
                wait("exposed"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Transitions { at_least: 10 }),
            Expect::of("watch", Check::Line(&["probe_error", "went offline"])),
            Expect::of("exposed", Check::Stream),
            Expect::of("exposed", Check::NoneOf(Severity::Error)),
            Expect::of("exposed", Check::Fired { rule: RuleId::RcuOffline, severity: Severity::Warning }),
            Expect::of("exposed", Check::Judged(RuleId::RcuOffline)),
        ],
        ..Scenario::USUAL
    },
];

const fn broken(rule: RuleId, function: &'static str) -> Finding {
    Finding { rule, severity: Severity::Error, function, handler: None, at_eqs: false, mechanism: None }
}

const DROPPED_FPROBE: Finding = Finding {
    rule: RuleId::HandlerDropped,
    severity: Severity::Warning,
    handler: Some((HandlerKind::FtraceOps, "lab/dropped")),
    at_eqs: true,
    ..broken(RuleId::HandlerDropped, "lab_eqs_target")
};

const IN_A_REAL_EQS: Finding = Finding {
    handler: Some((HandlerKind::Kprobe, "lab_eqs_target+*")),
    at_eqs: true,
    ..broken(RuleId::HandlerUnwatched, "lab_eqs_target")
};

const EXPOSED_IDLE_TO_TRACER: Finding =
    Finding { handler: Some((HandlerKind::FtraceOps, "function_stack_trace_call")), ..EXPOSED_IDLE };
