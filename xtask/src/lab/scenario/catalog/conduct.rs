//! How a run behaves where something else goes wrong: loss, death, refusals, endings.

use rcu_watch_core::probe::Point;
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, ENABLED, KPROBES, KPTR, SIGINT, SIGKILL, SIGTERM, await_text, read, run, signal, sleep, spawn, wait,
    write,
};

pub(super) static SCENARIOS: &[Scenario] = &[
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
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Hits { point: Point::Checkpoint, at_least: 2000 }),
            Expect::of("watch", Check::Delivered { at_least: 2000 }),
            Expect::of("watch", Check::Memory { at_most_mib: 64 }),
            Expect::of("record", Check::Stream),
            Expect::of("record", Check::Memory { at_most_mib: 64 }),
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
            Expect::of("watch", Check::Exit(3)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Loss),
            Expect::of("watch", Check::Line(&["bpf: probe", "no room for record"])),
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
            Expect::of("watch", Check::Killed(SIGKILL)),
            Expect::of("during", Check::With("arch_cpu_idle")).on("6.1"),
            Expect::of("during", Check::With("arch_cpu_idle")).on("5.10"),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("kprobes-after", Check::Same { other: "kprobes-before" }),
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
            Expect::of("interrupt", Check::Exit(0)),
            Expect::of("interrupt", Check::Stream),
            Expect::of("terminate", Check::Exit(0)),
            Expect::of("terminate", Check::Stream),
            Expect::of("closed-pipe", Check::Exit(3)),
            Expect::of("limit", Check::Exit(2)),
            Expect::of("limit", Check::Stream),
            Expect::of("command", Check::Exit(0)),
            Expect::of("command", Check::Stream),
            Expect::of("failed-command", Check::Exit(5)),
            Expect::of("failed-command", Check::Stream),
            Expect::of("blind", Check::Exit(3)),
            Expect::of("blind", Check::Stream),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "stopped-reader",
        about: "the reader stops under load: a signal and -d are answered, everything is detached, and what was lost is said",
        kernels: ALL,
        heavy: true,
        steps: || {
            vec![
                read("before", ENABLED),
                read("kprobes-before", KPROBES),
                spawn("load", "lab-load 600 4"),
                spawn("signal", "lab-stopped rcu-watch -f json --stream all --self-test"),
                await_text("signal", "\"header\""),
                sleep(5),
                signal("signal", SIGINT),
                wait("signal"),
                run("duration", "lab-stopped rcu-watch -f json --stream all -d 5s"),
                spawn("check", "lab-stopped rcu-watch check -f json --yes -d 600s vfs_read"),
                await_text("check", "\"header\""),
                sleep(5),
                signal("check", SIGTERM),
                wait("check"),
                signal("load", SIGKILL),
                wait("load"),
                sleep(2),
                read("after", ENABLED),
                read("kprobes-after", KPROBES),
            ]
        },
        expect: &[
            // The synthetic break was found, heard or not.
            Expect::of("signal", Check::Exit(2)),
            Expect::of("signal", Check::Line(&["messages were not written", "took nothing"])),
            // Nobody heard that there was none.
            Expect::of("duration", Check::Exit(3)),
            Expect::of("duration", Check::Line(&["messages were not written", "took nothing"])),
            // All that a check says fits into the pipe, or not.
            Expect::of("check", Check::ExitIn(&[0, 3])),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("kprobes-after", Check::Same { other: "kprobes-before" }),
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
            Expect::of("root", Check::Exit(0)),
            Expect::of("root", Check::Stream),
            Expect::of("root", Check::Calibrated),
            Expect::of("screen", Check::Exit(0)),
            Expect::of("screen", Check::Line(&["ok", "fentry", "CAP_BPF", "CAP_PERFMON"])),
            Expect::of("screen", Check::Line(&["ok", "watchpoint", "CAP_SYS_ADMIN"])),
            Expect::of("screen", Check::Line(&["ok", "calibration", "N=0x1 M=0x4000000000000000"])),
            Expect::of("screen", Check::Line(&["can watch this kernel"])),
            Expect::of("screen", Check::Line(&["lacking", "fentry with livepatch"])).on("5.10"),
            Expect::of("nobody", Check::Exit(4)),
            Expect::of("nobody", Check::Line(&["NO", "CAP_BPF", "run as root"])),
            Expect::of("nobody", Check::Line(&["cannot watch this kernel"])),
            Expect::of("nobody-json", Check::Exit(4)),
            Expect::of("nobody-json", Check::Stream),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("kprobes-after", Check::Same { other: "kprobes-before" }),
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
            Expect::of("nobody", Check::Exit(4)),
            Expect::of("nobody", Check::Line(&["root"])),
            Expect::of("nobody-probes", Check::Exit(0)),
            Expect::of("unknown-value", Check::Exit(1)),
            Expect::of("unknown-value", Check::Line(&["catastrophe"])),
            Expect::of("full", Check::Exit(1)),
            Expect::of("full", Check::Line(&["/dev/full", "no space left"])),
            Expect::of("no-btf", Check::Exit(4)),
            Expect::of("no-btf", Check::Line(&["BTF"])),
            Expect::of("no-kallsyms", Check::Exit(4)),
            Expect::of("no-kallsyms", Check::Line(&["kallsyms"])),
            Expect::of("no-kallsyms-json", Check::Exit(4)),
            Expect::of("no-kallsyms-json", Check::Stream),
            Expect::of("no-kallsyms-doctor", Check::Exit(4)),
            Expect::of("no-kallsyms-doctor", Check::Line(&["NO", "kptr_restrict", "sysctl"])),
            Expect::of("lockdown", Check::Exit(4)),
            Expect::of("lockdown", Check::Line(&["lockdown"])),
            Expect::of("lockdown-probes", Check::Exit(0)),
            Expect::of("lockdown-doctor", Check::Exit(4)),
            Expect::of("lockdown-doctor", Check::Line(&["NO", "lockdown", "lockdown=integrity"])),
        ],
        ..Scenario::USUAL
    },
];
