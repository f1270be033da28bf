//! What older kernels have or lack: RCU's entry functions that can be hooked, on the legacy kernel; and no ring buffer,
//! by forcing the way without it on kernels that have one.

use super::super::Scenario;
use super::super::expect::Expect;
use super::breaks::KPROBED_IDLE;
use super::steps::{
    ALL, EXPOSED, IDLE_IS_NOINSTR, KPROBE_ENABLE, KPROBE_EVENTS, SIGKILL, run, signal, spawn, wait, write,
};

pub static SCENARIOS: &[Scenario] = &[
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoneOf { run: "watch", severity: "error" },
            Expect::Judged { run: "watch", rule: "RW002" },
            Expect::Balance {
                run: "watch",
                functions: &["rcu_irq_enter", "rcu_irq_exit"],
                probes: 3,
                at_least: 10_000,
            },
            Expect::Balance {
                run: "watch",
                functions: &["rcu_nmi_enter", "rcu_nmi_exit"],
                probes: 3,
                at_least: 10_000,
            },
            Expect::Exit { run: "default", code: 0 },
            Expect::Stream { run: "default" },
            Expect::NoFinding { run: "default" },
            Expect::Hits { run: "default", point: "irq_exit", at_least: 100 },
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
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Calibrated { run: "watch" },
            Expect::Hits { run: "watch", point: "checkpoint", at_least: 500 },
            Expect::Line { run: "watch", has: &["\"header\"", "\"transport\":\"perf_event_array\""] },
            Expect::Exit { run: "self-test", code: 2 },
            Expect::OnlySynthetic { run: "self-test" },
            Expect::Exit { run: "flood", code: 3 },
            Expect::Stream { run: "flood" },
            Expect::Loss { run: "flood" },
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
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Finding { run: "watch", finding: KPROBED_IDLE },
        ],
        ..Scenario::USUAL
    },
];
