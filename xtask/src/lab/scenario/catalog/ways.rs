//! Every other way into an EQS: modules that enter a real one or spoil the words, exceptions, NMIs, the kernel's
//! own tracers, CPUs that go and come back, and what a watchpoint sees of all that.
//!
//! What is waited for is what the stream says, never a time: a guest may be as slow as it likes.

use std::time::Duration;

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Expect, Finding};
use super::steps::{
    ALL, EXPOSED, IDLE_IS_NOINSTR, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, load, read,
    run, signal, spawn, unload, until, wait, write,
};

const EQS_ACT: &str = "/sys/module/lab_eqs/parameters/act";
const STATE_ACT: &str = "/sys/module/lab_state/parameters/act";
const TRACING: &str = "/sys/kernel/tracing";
const DYNAMIC_EVENTS: &str = "/sys/kernel/tracing/dynamic_events";
const DROPPED: &str = "/sys/kernel/tracing/events/lab/dropped/enable";
const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";
const STACK_TRACER: &str = "/proc/sys/kernel/stack_tracer_enabled";

pub static SCENARIOS: &[Scenario] = &[
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
            Expect::Unbroken { run: "always" },
            Expect::Stream { run: "always" },
            Expect::NoFinding { run: "always" },
            Expect::Judged { run: "always", rule: "RW005" },
            Expect::Judged { run: "always", rule: "RW012" },
            Expect::Transitions { run: "always", at_least: 1000 },
            Expect::Unbroken { run: "sample" },
            Expect::Stream { run: "sample" },
            Expect::NoFinding { run: "sample" },
            Expect::Transitions { run: "sample", at_least: 10 },
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
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Finding { run: "watch", finding: IN_A_REAL_EQS },
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
                spawn("watch", "rcu-watch -f json"),
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
            Expect::Stream { run: "watch" },
            Expect::Finding { run: "watch", finding: DROPPED_FPROBE },
            Expect::NoneOf { run: "watch", severity: "error" },
            Expect::Without { file: "trace", none_of: &["dropped:"] },
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
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Finding { run: "watch", finding: broken("RW006", "sched_switch") },
            Expect::Finding { run: "watch", finding: broken("RW007", "sched_switch") },
            Expect::Finding {
                run: "watch",
                finding: Finding {
                    handler: Some(("kprobe", "lab_state_target+*")),
                    ..broken("RW010", "lab_state_target")
                },
            },
            Expect::Exit { run: "after", code: 0 },
            Expect::NoFinding { run: "after" },
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
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Fired { run: "watch", rule: "RW012", severity: "error" },
            Expect::Line { run: "watch", has: &["RW012", "lab_state_write", "[lab_state]"] },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "irqs-on",
        about: "a module enters an EQS with interrupts on: a watchpoint sees it",
        kernels: ALL,
        modules: &["lab_eqs"],
        // An emulated processor can be stopped within the module's EQS until a tick is due there.
        provokes: Some("rcu_is_cpu_rrupt_from_idle"),
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
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Fired { run: "watch", rule: "RW005", severity: "error" },
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
            Expect::Stream { run: "watch" },
            // RW009, that one hit a window, is no break.
            Expect::NoneOf { run: "watch", severity: "error" },
            Expect::NoneOf { run: "watch", severity: "warning" },
            Expect::Hits { run: "watch", point: "nmi_enter", at_least: 100 },
            Expect::Judged { run: "watch", rule: "RW010" },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::Finding {
                run: "watch",
                finding: Finding { handler: Some(("kprobe", "arch_cpu_idle+0x5")), ..EXPOSED_IDLE },
            },
            Expect::NoneOf { run: "watch", severity: "error" },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::Finding {
                run: "watch",
                finding: Finding { handler: Some(("ftrace_ops", "stack_trace_call")), ..EXPOSED_IDLE },
            },
            Expect::NoneOf { run: "watch", severity: "error" },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::Finding { run: "watch", finding: EXPOSED_IDLE_TO_TRACER },
            Expect::NoneOf { run: "watch", severity: "error" },
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
            Expect::Stream { run: "watch" },
            Expect::NoneOf { run: "watch", severity: "error" },
            Expect::Transitions { run: "watch", at_least: 10 },
            Expect::Line { run: "watch", has: &["probe_error", "went offline"] },
            Expect::Stream { run: "exposed" },
            Expect::NoneOf { run: "exposed", severity: "error" },
            Expect::Fired { run: "exposed", rule: "RW011", severity: "warning" },
            Expect::Judged { run: "exposed", rule: "RW011" },
        ],
        ..Scenario::USUAL
    },
];

const fn broken(rule: &'static str, function: &'static str) -> Finding {
    Finding { rule, severity: "error", function, handler: None, at_eqs: false, mechanism: None }
}

const DROPPED_FPROBE: Finding = Finding {
    rule: "RW013",
    severity: "warning",
    handler: Some(("ftrace_ops", "fprobe_*")),
    at_eqs: true,
    ..broken("RW013", "lab_eqs_target")
};

const IN_A_REAL_EQS: Finding = Finding {
    handler: Some(("kprobe", "lab_eqs_target+*")),
    at_eqs: true,
    ..broken("RW001", "lab_eqs_target")
};

const EXPOSED_IDLE: Finding = Finding {
    rule: "RW015",
    severity: "warning",
    function: "arch_cpu_idle",
    handler: None,
    at_eqs: true,
    mechanism: None,
};

const EXPOSED_IDLE_TO_TRACER: Finding =
    Finding { handler: Some(("ftrace_ops", "function_stack_trace_call")), ..EXPOSED_IDLE };
