//! Long ones: everything at once, again and again, for a long time. Played by name, or with `cargo xtask test --all`.

use std::time::Duration;

use rcu_watch_core::probe::Point;
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, ENABLED, EQS_ACT, KPROBE_ENABLE, KPROBE_EVENTS, KPROBES, SIGINT, SIGKILL, await_text, load, read,
    run, signal, sleep, spawn, unload, wait, write,
};

const LONG: Duration = Duration::from_secs(3600);
const EVERYTHING: &str = "rcu-watch --exposed --watchpoints always -f json";

fn long(label: &str, line: &str) -> Step {
    Step::Run { label: label.into(), limit: LONG, argv: line.split(' ').map(str::to_owned).collect() }
}

fn await_long(label: &str, text: &str) -> Step {
    Step::Await { label: label.into(), text: text.into(), times: 1, limit: LONG }
}

fn nmi() -> [Step; 2] {
    [Step::Monitor { command: "nmi".into() }, Step::Sleep { time: Duration::from_millis(50) }]
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clean-everything",
        about: "every point and watchpoint, 40,000 context switches, 100 NMIs: no error, no false alarm",
        kernels: ALL,
        heavy: true,
        steps: || {
            let mut steps = vec![spawn("watch", EVERYTHING), await_text("watch", "\"header\"")];
            steps.push(spawn("load", "lab-load 3600 1"));
            steps.extend((0..100).flat_map(|_| nmi()));
            steps.push(signal("load", SIGKILL));
            steps.push(wait("load"));
            steps.push(long("switches", "lab-switch 20000"));
            steps.extend([signal("watch", SIGINT), wait("watch")]);
            steps
        },
        expect: &[
            Expect::of("switches", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            // On older kernels our own probes on idle functions are what RW015 warns of.
            Expect::of("watch", Check::NoneOf(Severity::Warning)).on("6.12"),
            Expect::of("watch", Check::NoneOf(Severity::Warning)).on("sid"),
            Expect::of("watch", Check::Hits { point: Point::Checkpoint, at_least: 40_000 }),
            Expect::of("watch", Check::Hits { point: Point::NmiEnter, at_least: 100 }),
            Expect::of("watch", Check::Transitions { at_least: 1000 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "cycles",
        about: "a hundred starts and ends, watchpoints and all: no program, map, link or breakpoint is left",
        kernels: ALL,
        heavy: true,
        steps: || {
            vec![
                // What scenarios before this one left to the kernel to free is freed by then.
                sleep(5),
                read("before", ENABLED),
                read("kprobes-before", KPROBES),
                run("held-before", "lab-held"),
                long(
                    "cycles",
                    "lab-cycle 100 rcu-watch --exposed --watchpoints always -d 200ms --fail-on never",
                ),
                sleep(5),
                run("held-after", "lab-held"),
                read("after", ENABLED),
                read("kprobes-after", KPROBES),
                run("watch", "rcu-watch --watchpoints always -d 5s -f json"),
            ]
        },
        expect: &[
            Expect::of("cycles", Check::Line(&["100 rounds"])),
            Expect::of("held-after", Check::SameOutput { other: "held-before" }),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("kprobes-after", Check::Same { other: "kprobes-before" }),
            // All four breakpoints of each CPU would be taken.
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Transitions { at_least: 10 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "killed-everything",
        about: "kill -9 with every point and watchpoint attached: nothing stays",
        kernels: ALL,
        heavy: true,
        steps: || {
            vec![
                // What scenarios before this one left to the kernel to free is freed by then.
                sleep(5),
                read("before", ENABLED),
                read("kprobes-before", KPROBES),
                run("held-before", "lab-held"),
                spawn("watch", EVERYTHING),
                await_text("watch", "\"header\""),
                signal("watch", SIGKILL),
                wait("watch"),
                // The kernel frees trampolines when it finds the time.
                sleep(10),
                run("held-after", "lab-held"),
                read("after", ENABLED),
                read("kprobes-after", KPROBES),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Killed(SIGKILL)),
            Expect::of("held-after", Check::SameOutput { other: "held-before" }),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("kprobes-after", Check::Same { other: "kprobes-before" }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "two-instances",
        about: "two instances on the same functions: the second names the first, and neither takes the other for a handler",
        kernels: ALL,
        heavy: true,
        steps: || {
            vec![
                spawn("first", "rcu-watch --exposed -f json"),
                await_text("first", "\"header\""),
                run("second", "rcu-watch --exposed -d 8s -f json"),
                signal("first", SIGINT),
                wait("first"),
            ]
        },
        expect: &[
            Expect::of("first", Check::Stream),
            Expect::of("first", Check::NoneOf(Severity::Error)),
            Expect::of("second", Check::Stream),
            Expect::of("second", Check::NoneOf(Severity::Error)),
            Expect::of("second", Check::OtherInstance),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "nmi-in-eqs",
        about: "NMIs find a module in code that can be hooked, in a real EQS, with no probe anywhere near it",
        kernels: ALL,
        modules: &["lab_eqs"],
        heavy: true,
        steps: || {
            let mut steps = vec![
                load("lab_eqs"),
                spawn("watch", "rcu-watch --allow-fentry --require RW014 -f json"),
                await_text("watch", "\"header\""),
                spawn("spin", &format!("lab-write {EQS_ACT} spin 40")),
            ];
            // Many of them come while an earlier one is pending, and are one with it.
            steps.extend((0..200).flat_map(|_| nmi()));
            steps.extend([wait("spin"), signal("watch", SIGINT), wait("watch"), unload("lab_eqs")]);
            steps
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::SampledInEqs, severity: Severity::Error }),
            Expect::of("watch", Check::Judged(RuleId::SampledInEqs)),
            Expect::of("watch", Check::Line(&["\"summary\"", "\"reasons\":[]"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "module-reload",
        about: "a module goes and comes back, with somebody's kprobe on it, while its function is watched",
        kernels: ALL,
        modules: &["lab_eqs"],
        heavy: true,
        steps: || {
            let hook = || {
                [
                    load("lab_eqs"),
                    write(KPROBE_EVENTS, "p:lab/site lab_eqs:lab_eqs_target"),
                    write(KPROBE_ENABLE, "1"),
                ]
            };
            let unhook = || [write(KPROBE_ENABLE, "0"), write(KPROBE_EVENTS, "")];
            let mut steps = Vec::from(hook());
            steps.extend([spawn("watch", "rcu-watch -f json"), await_text("watch", "\"header\"")]);
            steps.push(write(EQS_ACT, "call"));
            steps.push(await_text("watch", "\"RW001\""));
            steps.extend(unhook());
            steps.push(await_long("watch", "\"because\":\"the last handler left\""));
            steps.push(unload("lab_eqs"));
            steps.extend(hook());
            steps.push(await_long("watch", "\"because\":\"handlers appeared\""));
            steps.push(write(EQS_ACT, "call"));
            steps.extend([signal("watch", SIGINT), wait("watch")]);
            steps.extend(unhook());
            steps.push(unload("lab_eqs"));
            steps
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::HandlerUnwatched, severity: Severity::Error }),
            Expect::of("watch", Check::Hits { point: Point::FtraceFunction, at_least: 40 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "nohz-full",
        about: "user code on a nohz_full CPU, the other EQS: its ways in and out balance, and nothing is wrong",
        kernels: &["6.1", "6.12", "sid"],
        heavy: true,
        elsewhere: "this kernel is built without NO_HZ_FULL",
        append: "nohz_full=1",
        steps: || {
            vec![
                spawn(
                    "watch",
                    "rcu-watch -c 0,1 --watchpoints always --stream all -f json --ring-bytes 4194304",
                ),
                await_text("watch", "\"header\""),
                run("spin", "lab-spin 1 8"),
                await_text("watch", "user_enter"),
                signal("watch", SIGINT),
                wait("watch"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Line(&["\"transition\"", "user_enter"])),
            Expect::of("watch", Check::Line(&["\"transition\"", "user_exit"])),
        ],
        ..Scenario::USUAL
    },
];
