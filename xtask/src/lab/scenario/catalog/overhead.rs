//! What happens to probes that are too dear: given up, said, and taken back.

use rcu_watch_core::probe::Point;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, signal, spawn, wait, write,
};

const GIVEN_UP: &str = r#""because":"given up for now"#;
const TAKEN_BACK: &str = r#""because":"taken back"#;

pub(super) static SCENARIOS: &[Scenario] = &[Scenario {
    name: "max-overhead",
    about: "a flood of calls of a hooked function, and a small budget: the probe is given up, and taken back after it",
    kernels: ALL,
    steps: || {
        vec![
            write(KPROBE_EVENTS, "p:lab/site security_task_prctl"),
            write(KPROBE_ENABLE, "1"),
            spawn("flood", "lab-flood 600"),
            spawn("watch", "rcu-watch -f json --max-overhead 0.02"),
            await_text("watch", GIVEN_UP),
            signal("flood", SIGKILL),
            wait("flood"),
            await_text("watch", TAKEN_BACK),
            signal("watch", SIGINT),
            wait("watch"),
            write(KPROBE_ENABLE, "0"),
            write(KPROBE_EVENTS, ""),
        ]
    },
    expect: &[
        // The time in which it was not watched makes the run inconclusive, and the summary says how long that was.
        Expect::of("watch", Check::Exit(3)),
        Expect::of("watch", Check::Stream),
        Expect::of("watch", Check::NoFinding),
        Expect::of("watch", Check::Line(&["\"plan_change\"", "security_task_prctl", GIVEN_UP])),
        Expect::of("watch", Check::Line(&["\"plan_change\"", "security_task_prctl", TAKEN_BACK])),
        Expect::of("watch", Check::Line(&["\"summary\"", "security_task_prctl was not watched for"])),
        Expect::of("watch", Check::Hits { point: Point::FtraceFunction, at_least: 1000 }),
    ],
    ..Scenario::USUAL
}];
