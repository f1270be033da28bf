//! Handlers in a module's EQS that no kernel keeps from running: what does not go through ftrace asks nobody.

use rcu_watch_core::probe::HandlerKind;
use rcu_watch_core::{RuleId, Severity};

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::steps::{
    ALL, EQS_ACT, KPROBE_ENABLE, KPROBE_EVENTS, KPROBES, SIGINT, TRACE, await_text, load, program_in_eqs,
    read, signal, sleep, spawn, unload, wait, write,
};

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "eqs-optimised",
        about: "an optimised kprobe in a module's EQS: it jumps to its handler, which runs, and is never called skipped",
        kernels: ALL,
        modules: &["lab_eqs"],
        heavy: true,
        steps: || {
            vec![
                load("lab_eqs"),
                // Behind ftrace's site, with and without an endbr64 ahead of it.
                write(KPROBE_EVENTS, "p:lab/site lab_eqs:lab_eqs_wide+10"),
                write(KPROBE_ENABLE, "1"),
                // Optimisers work some jiffies later.
                sleep(3),
                read("kprobes", KPROBES),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                write(EQS_ACT, "wide"),
                await_text("watch", "\"RW001\""),
                signal("watch", SIGINT),
                wait("watch"),
                read("trace", TRACE),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
                write(TRACE, ""),
                unload("lab_eqs"),
            ]
        },
        expect: &[
            Expect::of("kprobes", Check::With("[OPTIMIZED]")),
            Expect::of("trace", Check::With("site:")),
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(OPTIMISED)),
            Expect::of("watch", Check::NoneOfRule(RuleId::HandlerDropped)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "eqs-fentry",
        about: "a BPF trampoline on a function that a module calls from a real EQS: a break on any kernel",
        kernels: ALL,
        modules: &["lab_eqs"],
        heavy: true,
        steps: || program_in_eqs("function int_sqrt", "sqrt"),
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(TRAMPOLINE)),
        ],
        ..Scenario::USUAL
    },
];

const OPTIMISED: Finding = Finding {
    rule: RuleId::HandlerUnwatched,
    severity: Severity::Error,
    function: "lab_eqs_wide",
    handler: Some((HandlerKind::Kprobe, "lab_eqs_wide+0xa")),
    at_eqs: false,
    mechanism: None,
};

const TRAMPOLINE: Finding = Finding {
    function: "int_sqrt",
    handler: Some((HandlerKind::Bpf, "lab_empty")),
    at_eqs: true,
    ..OPTIMISED
};
