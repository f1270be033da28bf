//! Real breaks, and what looks like one: somebody's handlers on a function that stock kernels call with RCU off.
//!
//! Up to 6.2 only: from 6.3 the function is noinstr, and the quiet scenarios say so.

use rcu_watch_core::probe::{HandlerKind, Mechanism};
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::steps::{
    ENABLED, EXPOSED, IDLE_IS_NOINSTR, KPROBE_ENABLE, KPROBE_EVENTS, LIVEPATCH, VICTIMS, await_text, read,
    run, spawn, until, wait, write,
};

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "livepatch-idle",
        about: "a livepatch of arch_cpu_idle: its handler and body run with RCU off",
        kernels: EXPOSED,
        modules: &["lab_livepatch_idle"],
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                Step::LoadModule { name: "lab_livepatch_idle".into(), params: String::new() },
                until(&format!("{LIVEPATCH}/transition"), "0"),
                read("before", ENABLED),
                run("watch", "rcu-watch -d 8s -f json"),
                run("text", "rcu-watch -d 5s"),
                read("after", ENABLED),
                write(&format!("{LIVEPATCH}/enabled"), "0"),
                until(&format!("{LIVEPATCH}/enabled"), ""),
                Step::UnloadModule { name: "lab_livepatch_idle".into() },
            ]
        },
        expect: &[
            Expect::of("before", Check::With("klp_ftrace_handler")),
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Calibrated),
            Expect::of("watch", Check::Finding(LIVEPATCHED_IDLE)),
            // fentry and livepatch exclude each other there.
            Expect::of(
                "watch",
                Check::Finding(Finding { mechanism: Some(Mechanism::KprobeFtrace), ..LIVEPATCHED_IDLE }),
            )
            .on("5.10"),
            Expect::of("text", Check::Exit(2)),
            Expect::of(
                "text",
                Check::Line(&["RW001", "error", "arch_cpu_idle", "lab_livepatch_idle", "W=0 N=0 M=0"]),
            ),
            Expect::of("after", Check::Same { other: "before" }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "kprobe-idle",
        about: "a kprobe of somebody else's on arch_cpu_idle: its handler runs with RCU off",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write(KPROBE_EVENTS, "p:lab/site arch_cpu_idle"),
                write(KPROBE_ENABLE, "1"),
                run("watch", "rcu-watch -d 5s -f json"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(KPROBED_IDLE)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "tracer-idle",
        about: "the function tracer on arch_cpu_idle, which uses no RCU: exposed, not broken",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write("/sys/kernel/tracing/set_ftrace_filter", "arch_cpu_idle"),
                write("/sys/kernel/tracing/current_tracer", "function"),
                run("watch", "rcu-watch -d 5s -f json"),
                write("/sys/kernel/tracing/current_tracer", "nop"),
                write("/sys/kernel/tracing/set_ftrace_filter", ""),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(TRACED_IDLE)),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "idle-probe",
        about: "our own probe on the idle functions, nobody else's: exposed, not broken",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                run("exposed", "rcu-watch -d 8s --exposed -f json"),
                run("strict", "rcu-watch -d 8s --exposed -f json --fail-on warning"),
                spawn("plain", "rcu-watch -d 6s -f json"),
                await_text("plain", "\"header\""),
                read("plain-sites", ENABLED),
                wait("plain"),
            ]
        },
        expect: &[
            Expect::of("exposed", Check::Exit(0)),
            Expect::of("exposed", Check::Stream),
            Expect::of("exposed", Check::Finding(EXPOSED_IDLE)),
            Expect::of("exposed", Check::NoneOf(Severity::Error)),
            Expect::of("strict", Check::Exit(2)),
            Expect::of("strict", Check::Stream),
            Expect::of("plain", Check::Exit(0)),
            Expect::of("plain", Check::Stream),
            Expect::of("plain", Check::NoFinding),
            Expect::of("plain-sites", Check::Without(VICTIMS)),
        ],
        ..Scenario::USUAL
    },
];

/// Only our probe is on it: a warning to whoever else would hook it.
pub(super) const EXPOSED_IDLE: Finding = Finding {
    rule: RuleId::ExposedFunction,
    severity: Severity::Warning,
    function: "arch_cpu_idle",
    handler: None,
    at_eqs: true,
    mechanism: None,
};

/// The break of the first issue of this kind, on stock kernels.
const LIVEPATCHED_IDLE: Finding = Finding {
    rule: RuleId::HandlerUnwatched,
    severity: Severity::Error,
    function: "arch_cpu_idle",
    handler: Some((HandlerKind::Livepatch, "lab_livepatch_idle")),
    at_eqs: true,
    mechanism: None,
};

pub(super) const KPROBED_IDLE: Finding =
    Finding { handler: Some((HandlerKind::Kprobe, "arch_cpu_idle+0x0")), ..LIVEPATCHED_IDLE };

const TRACED_IDLE: Finding =
    Finding { handler: Some((HandlerKind::FtraceOps, "function_trace_call")), ..EXPOSED_IDLE };
