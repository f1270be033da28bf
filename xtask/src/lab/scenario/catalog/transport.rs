//! What older kernels have or lack: RCU's entry functions that can be hooked, on the legacy kernel; and no ring buffer,
//! by forcing the way without it on kernels that have one.

use rcu_watch_core::probe::Point;
use rcu_watch_core::{RuleId, Severity};

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::breaks::KPROBED_IDLE;
use super::steps::{
    ALL, EXPOSED, IDLE_IS_NOINSTR, KPROBE_ENABLE, KPROBE_EVENTS, SIGKILL, run, signal, spawn, wait, write,
};

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "legacy-names",
        about: "RCU's entry functions hooked at both ends: what goes in comes out, and RCU watches in between",
        kernels: &["legacy"],
        elsewhere: "of a kernel that `cargo xtask lab kernel legacy` builds",
        steps: || {
            vec![
                spawn("load", "lab-load 600 2"),
                run("watch", "rcu-watch -d 70s -f json --exposed --allow-fentry"),
                signal("load", SIGKILL),
                wait("load"),
                run("default", "rcu-watch -d 4s -f json"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Judged(RuleId::IrqEnterNoEffect)),
            Expect::of(
                "watch",
                Check::Balance { functions: &["rcu_irq_enter", "rcu_irq_exit"], probes: 3, at_least: 10_000 },
            ),
            Expect::of(
                "watch",
                Check::Balance { functions: &["rcu_nmi_enter", "rcu_nmi_exit"], probes: 3, at_least: 10_000 },
            ),
            Expect::of("default", Check::Exit(0)),
            Expect::of("default", Check::Stream),
            Expect::of("default", Check::NoFinding),
            Expect::of("default", Check::Hits { point: Point::IrqExit, at_least: 100 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "perf-transport",
        about: "records by perf buffers instead of the ring buffer: the same stream, the same books",
        kernels: ALL,
        steps: || {
            vec![
                spawn("load", "lab-load 600 4"),
                run("watch", "rcu-watch -d 5s -f json --transport perf"),
                run("self-test", "rcu-watch -d 2s -f json --transport perf --self-test"),
                run("flood", "rcu-watch -d 4s -f json --transport perf --stream all --ring-bytes 4096"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Calibrated),
            Expect::of("watch", Check::Hits { point: Point::Checkpoint, at_least: 500 }),
            Expect::of("watch", Check::Line(&["\"header\"", "\"transport\":\"perf_event_array\""])),
            Expect::of("self-test", Check::Exit(2)),
            Expect::of("self-test", Check::OnlySynthetic),
            Expect::of("flood", Check::Exit(3)),
            Expect::of("flood", Check::Stream),
            Expect::of("flood", Check::Loss),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "perf-transport-idle",
        about: "a kprobe of somebody else's on arch_cpu_idle, told of by perf buffers",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                write(KPROBE_EVENTS, "p:lab/site arch_cpu_idle"),
                write(KPROBE_ENABLE, "1"),
                run("watch", "rcu-watch -d 4s -f json --transport perf"),
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
];
