//! Nothing is broken, and nothing may be reported.

use std::time::Duration;

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::Expect;
use super::steps::{
    ALL, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, run, signal, sleep, spawn, wait, write,
};

pub static SCENARIOS: &[Scenario] = &[
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Calibrated { run: "watch" },
            Expect::Hits { run: "watch", point: "checkpoint", at_least: 1000 },
            Expect::Exit { run: "screen", code: 0 },
            Expect::Line { run: "screen", has: &["handlers now:"] },
            Expect::Line { run: "screen", has: &["watching:", "checkpoint", "fires"] },
            Expect::Line { run: "screen", has: &["not seen: idle and irq entry", "--watchpoints sample"] },
            Expect::Line { run: "screen", has: &["no break in"] },
            Expect::Exit { run: "ktap", code: 0 },
            Expect::Line { run: "ktap", has: &["KTAP version 1"] },
            Expect::Exit { run: "self-test", code: 2 },
            Expect::Stream { run: "self-test" },
            Expect::OnlySynthetic { run: "self-test" },
            Expect::Exit { run: "probes", code: 0 },
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
            Expect::Unbroken { run: "watch" },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Hits { run: "watch", point: "ftrace_function", at_least: 100 },
            Expect::Judged { run: "watch", rule: "RW001" },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Hits { run: "watch", point: "nmi_enter", at_least: 2 },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Calibrated { run: "watch" },
            Expect::Hits { run: "watch", point: "checkpoint", at_least: 100 },
        ],
        ..Scenario::USUAL
    },
];
