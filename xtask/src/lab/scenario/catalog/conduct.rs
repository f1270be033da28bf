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
        name: "forced-loss",
        about: "a ring of one page and a flood: what is lost is counted, and the run inconclusive",
        kernels: ALL,
        cpus: 2,
        modules: &[],
        last: false,
        steps: || {
            vec![
                spawn("load", "lab-load 30 4"),
                run("watch", "rcu-watch -d 5s -f json --stream all --ring-bytes 4096"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::Exit { run: "watch", code: 3 },
            Expect::Stream { run: "watch" },
            Expect::Loss { run: "watch" },
        ],
    },
    Scenario {
        name: "killed",
        about: "kill -9 in the middle of a run: nothing of ours stays attached",
        kernels: ALL,
        cpus: 2,
        modules: &[],
        last: false,
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
    },
    Scenario {
        name: "endings",
        about: "signals, a closed pipe, a limit, a command: every run ends with its summary and its code",
        kernels: &["6.1"],
        cpus: 2,
        modules: &[],
        last: false,
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
    },
    Scenario {
        name: "refusals",
        about: "bad places and bad input: refused with a reason, and the right code",
        kernels: ALL,
        cpus: 2,
        modules: &[],
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
                write(KPTR, "0"),
                // For good: a kernel does not leave lockdown.
                write("/sys/kernel/security/lockdown", "confidentiality"),
                run("lockdown", "rcu-watch -d 2s"),
                run("lockdown-probes", "rcu-watch probes"),
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
            Expect::Exit { run: "lockdown", code: 4 },
            Expect::Line { run: "lockdown", has: &["lockdown"] },
            Expect::Exit { run: "lockdown-probes", code: 0 },
        ],
    },
];
