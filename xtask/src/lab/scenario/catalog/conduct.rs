//! How a run behaves where something else goes wrong: loss, death, refusals, endings.

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::Expect;
use super::steps::{
    ALL, ENABLED, KPROBES, KPTR, SIGINT, SIGKILL, SIGTERM, await_text, read, run, signal, sleep, spawn, wait,
    write,
};

pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "flood",
        about: "every CPU fires hooks as fast as it can: what is produced is delivered or lost, to the last record",
        kernels: ALL,
        steps: || {
            vec![
                spawn("flood", "lab-flood 600"),
                // A trace that nobody keeps: every snapshot is sent, and none is printed.
                run("watch", "rcu-watch -d 6s -f json --perfetto /dev/null --ring-bytes 65536"),
                run("record", "rcu-watch record -d 3s -f json /dev/null"),
                signal("flood", SIGKILL),
                wait("flood"),
            ]
        },
        expect: &[
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Hits { run: "watch", point: "checkpoint", at_least: 2000 },
            Expect::Delivered { run: "watch", at_least: 2000 },
            Expect::Memory { run: "watch", at_most_mib: 64 },
            Expect::Stream { run: "record" },
            Expect::Memory { run: "record", at_most_mib: 64 },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "forced-loss",
        about: "a ring of one page and a flood: what is lost is counted and said, and the run inconclusive",
        kernels: ALL,
        steps: || {
            vec![
                spawn("load", "lab-load 600 4"),
                run("watch", "rcu-watch -vv -d 5s -f json --stream all --ring-bytes 4096"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::Exit { run: "watch", code: 3 },
            Expect::Stream { run: "watch" },
            Expect::Loss { run: "watch" },
            Expect::Line { run: "watch", has: &["bpf: probe", "no room for record"] },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "killed",
        about: "kill -9 in the middle of a run: nothing of ours stays attached",
        kernels: ALL,
        steps: || {
            vec![
                read("before", ENABLED),
                read("kprobes-before", KPROBES),
                spawn("watch", "rcu-watch --exposed -f json"),
                await_text("watch", "\"header\""),
                sleep(2),
                read("during", ENABLED),
                signal("watch", SIGKILL),
                wait("watch"),
                sleep(2),
                read("after", ENABLED),
                read("kprobes-after", KPROBES),
            ]
        },
        expect: &[
            Expect::Killed { run: "watch", signal: SIGKILL },
            Expect::On { kernel: "6.1", expect: &Expect::With { file: "during", text: "arch_cpu_idle" } },
            Expect::On { kernel: "5.10", expect: &Expect::With { file: "during", text: "arch_cpu_idle" } },
            Expect::Same { file: "after", other: "before" },
            Expect::Same { file: "kprobes-after", other: "kprobes-before" },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "endings",
        about: "signals, a closed pipe, a limit, a command: every run ends with its summary and its code",
        kernels: &["6.1"],
        elsewhere: "nothing in it depends on the kernel: one is enough",
        steps: || {
            vec![
                spawn("interrupt", "rcu-watch -f json"),
                await_text("interrupt", "\"header\""),
                sleep(2),
                signal("interrupt", SIGINT),
                wait("interrupt"),
                spawn("terminate", "rcu-watch -f json"),
                await_text("terminate", "\"header\""),
                sleep(2),
                signal("terminate", SIGTERM),
                wait("terminate"),
                run("closed-pipe", "lab-head rcu-watch -f json -d 15s"),
                run("limit", "rcu-watch -f json --exposed --limit 1 --fail-on warning"),
                run("command", "rcu-watch -f json -- lab-load 3"),
                run("failed-command", "rcu-watch -f json -- lab-load never"),
                run("blind", "rcu-watch -f json -d 3s --require idle_victim"),
            ]
        },
        expect: &[
            Expect::Exit { run: "interrupt", code: 0 },
            Expect::Stream { run: "interrupt" },
            Expect::Exit { run: "terminate", code: 0 },
            Expect::Stream { run: "terminate" },
            Expect::Exit { run: "closed-pipe", code: 0 },
            Expect::Exit { run: "limit", code: 2 },
            Expect::Stream { run: "limit" },
            Expect::Exit { run: "command", code: 0 },
            Expect::Stream { run: "command" },
            Expect::Exit { run: "failed-command", code: 5 },
            Expect::Stream { run: "failed-command" },
            Expect::Exit { run: "blind", code: 3 },
            Expect::Stream { run: "blind" },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "doctor",
        about: "what this kernel allows root and nobody: all of it calibrated, or each lack with its remedy",
        kernels: ALL,
        steps: || {
            vec![
                read("before", ENABLED),
                read("kprobes-before", KPROBES),
                run("root", "rcu-watch doctor -f json"),
                run("screen", "rcu-watch doctor"),
                run("nobody", "lab-as 65534 rcu-watch doctor"),
                run("nobody-json", "lab-as 65534 rcu-watch doctor -f json"),
                sleep(2),
                read("after", ENABLED),
                read("kprobes-after", KPROBES),
            ]
        },
        expect: &[
            Expect::Exit { run: "root", code: 0 },
            Expect::Stream { run: "root" },
            Expect::Calibrated { run: "root" },
            Expect::Exit { run: "screen", code: 0 },
            Expect::Line { run: "screen", has: &["ok", "fentry", "CAP_BPF", "CAP_PERFMON"] },
            Expect::Line { run: "screen", has: &["ok", "watchpoint", "CAP_SYS_ADMIN"] },
            Expect::Line { run: "screen", has: &["ok", "calibration", "N=0x1 M=0x4000000000000000"] },
            Expect::Line { run: "screen", has: &["can watch this kernel"] },
            Expect::On {
                kernel: "5.10",
                expect: &Expect::Line { run: "screen", has: &["lacking", "fentry with livepatch"] },
            },
            Expect::Exit { run: "nobody", code: 4 },
            Expect::Line { run: "nobody", has: &["NO", "CAP_BPF", "run as root"] },
            Expect::Line { run: "nobody", has: &["cannot watch this kernel"] },
            Expect::Exit { run: "nobody-json", code: 4 },
            Expect::Stream { run: "nobody-json" },
            Expect::Same { file: "after", other: "before" },
            Expect::Same { file: "kprobes-after", other: "kprobes-before" },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "refusals",
        about: "bad places and bad input: refused with a reason, and the right code",
        kernels: ALL,
        last: true,
        steps: || {
            vec![
                run("nobody", "lab-as 65534 rcu-watch -d 2s"),
                run("nobody-probes", "lab-as 65534 rcu-watch probes"),
                run("unknown-value", "rcu-watch --fail-on catastrophe"),
                run("full", "rcu-watch -d 2s -f json -o /dev/full"),
                Step::Hide { path: "/sys/kernel/btf/vmlinux".into() },
                run("no-btf", "rcu-watch -d 2s"),
                Step::Unhide { path: "/sys/kernel/btf/vmlinux".into() },
                write(KPTR, "2"),
                run("no-kallsyms", "rcu-watch -d 2s"),
                run("no-kallsyms-json", "rcu-watch -d 2s -f json"),
                run("no-kallsyms-doctor", "rcu-watch doctor"),
                write(KPTR, "0"),
                // For good: a kernel does not leave lockdown.
                write("/sys/kernel/security/lockdown", "confidentiality"),
                run("lockdown", "rcu-watch -d 2s"),
                run("lockdown-probes", "rcu-watch probes"),
                run("lockdown-doctor", "rcu-watch doctor"),
            ]
        },
        expect: &[
            Expect::Exit { run: "nobody", code: 4 },
            Expect::Line { run: "nobody", has: &["root"] },
            Expect::Exit { run: "nobody-probes", code: 0 },
            Expect::Exit { run: "unknown-value", code: 1 },
            Expect::Line { run: "unknown-value", has: &["catastrophe"] },
            Expect::Exit { run: "full", code: 1 },
            Expect::Line { run: "full", has: &["/dev/full", "no space left"] },
            Expect::Exit { run: "no-btf", code: 4 },
            Expect::Line { run: "no-btf", has: &["BTF"] },
            Expect::Exit { run: "no-kallsyms", code: 4 },
            Expect::Line { run: "no-kallsyms", has: &["kallsyms"] },
            Expect::Exit { run: "no-kallsyms-json", code: 4 },
            Expect::Stream { run: "no-kallsyms-json" },
            Expect::Exit { run: "no-kallsyms-doctor", code: 4 },
            Expect::Line { run: "no-kallsyms-doctor", has: &["NO", "kptr_restrict", "sysctl"] },
            Expect::Exit { run: "lockdown", code: 4 },
            Expect::Line { run: "lockdown", has: &["lockdown"] },
            Expect::Exit { run: "lockdown-probes", code: 0 },
            Expect::Exit { run: "lockdown-doctor", code: 4 },
            Expect::Line { run: "lockdown-doctor", has: &["NO", "lockdown", "lockdown=integrity"] },
        ],
        ..Scenario::USUAL
    },
];
