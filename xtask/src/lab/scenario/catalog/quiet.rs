//! Nothing is broken, and nothing may be reported.

use std::time::Duration;

use rcu_watch_core::probe::Point;
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, run, signal, sleep, spawn, wait, write,
};

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clean",
        about: "fork load and nothing broken: nothing is reported, the screen is not blank",
        kernels: ALL,
        steps: || {
            vec![
                spawn("load", "lab-load 600 2"),
                run("watch", "rcu-watch -d 12s -f json"),
                run("screen", "rcu-watch -d 4s"),
                run("ktap", "rcu-watch -d 3s -f ktap"),
                run("self-test", "rcu-watch -d 3s --self-test -f json"),
                run("probes", "rcu-watch probes -f json"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Calibrated),
            Expect::of("watch", Check::Hits { point: Point::Checkpoint, at_least: 1000 }),
            Expect::of("screen", Check::Exit(0)),
            Expect::of("screen", Check::Line(&["handlers now:"])),
            Expect::of("screen", Check::Line(&["watching:", "checkpoint", "fires"])),
            Expect::of("screen", Check::Line(&["not seen: idle and irq entry", "--watchpoints sample"])),
            Expect::of("screen", Check::Line(&["no break in"])),
            Expect::of("ktap", Check::Exit(0)),
            Expect::of("ktap", Check::Line(&["KTAP version 1"])),
            Expect::of("self-test", Check::Exit(2)),
            Expect::of("self-test", Check::Stream),
            Expect::of("self-test", Check::OnlySynthetic),
            Expect::of("probes", Check::Exit(0)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "handler",
        about: "a kprobe of somebody else's where RCU watches: judged, and nothing wrong with it",
        kernels: ALL,
        steps: || {
            vec![
                write(KPROBE_EVENTS, "p:lab/site do_nanosleep"),
                write(KPROBE_ENABLE, "1"),
                spawn("load", "lab-load 600 2"),
                run("watch", "rcu-watch -d 6s -f json"),
                signal("load", SIGKILL),
                wait("load"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Unbroken),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Hits { point: Point::FtraceFunction, at_least: 100 }),
            Expect::of("watch", Check::Judged(RuleId::HandlerUnwatched)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "nmi",
        about: "NMIs out of idle and out of work: seen, counted, and nothing wrong with them",
        kernels: ALL,
        steps: || {
            let mut steps = vec![spawn("watch", "rcu-watch -f json"), await_text("watch", "\"header\"")];
            for _ in 0..5 {
                steps.push(Step::Monitor { command: "nmi".into() });
                steps.push(Step::Sleep { time: Duration::from_millis(300) });
            }
            steps.extend([sleep(2), signal("watch", SIGINT), wait("watch")]);
            steps
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            // RW009 and RW014, that one hit the idle path, are information and no break.
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::NoneOf(Severity::Warning)),
            Expect::of("watch", Check::Hits { point: Point::NmiEnter, at_least: 2 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "one-cpu",
        about: "a guest with one CPU, which never sees another one idle: calibrates and judges",
        kernels: ALL,
        cpus: 1,
        steps: || {
            vec![
                spawn("load", "lab-load 600 1"),
                run("watch", "rcu-watch -d 6s -f json"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Calibrated),
            Expect::of("watch", Check::Hits { point: Point::Checkpoint, at_least: 100 }),
        ],
        ..Scenario::USUAL
    },
];
