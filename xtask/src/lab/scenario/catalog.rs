//! The scenarios.

use std::time::Duration;

use xtask::plan::Step;

use super::Scenario;
use super::expect::{Expect, Finding};

const ALL: &[&str] = &["5.10", "6.1", "6.12", "sid"];
/// Kernels whose idle path calls traceable functions with RCU off.
const EXPOSED: &[&str] = &["5.10", "6.1"];
/// Functions that these kernels run with RCU off: KERNEL.md 1.5, as far as a guest runs them.
const VICTIMS: &[&str] = &["arch_cpu_idle", "default_idle", "default_idle_call", "cpuidle_enter_state"];

const ENABLED: &str = "/sys/kernel/tracing/enabled_functions";
const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
const LIVEPATCH: &str = "/sys/kernel/livepatch/lab_livepatch_idle";
const KPTR: &str = "/proc/sys/kernel/kptr_restrict";

const SIGKILL: i32 = 9;

pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clean",
        about: "fork load and nothing broken: nothing is reported, the screen is not blank",
        kernels: ALL,
        cpus: 2,
        modules: &[],
        last: false,
        steps: || {
            vec![
                spawn("load", "lab-load 60 2"),
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
            Expect::Line { run: "screen", has: &["not seen:"] },
            Expect::Line { run: "screen", has: &["no break in"] },
            Expect::Exit { run: "ktap", code: 0 },
            Expect::Line { run: "ktap", has: &["KTAP version 1"] },
            Expect::Exit { run: "self-test", code: 2 },
            Expect::Stream { run: "self-test" },
            Expect::OnlySynthetic { run: "self-test" },
            Expect::Exit { run: "probes", code: 0 },
        ],
    },
    Scenario {
        name: "idle-probe",
        about: "our own probe on the idle functions, nobody else's: exposed, not broken",
        kernels: EXPOSED,
        cpus: 2,
        modules: &[],
        last: false,
        steps: || {
            vec![
                run("exposed", "rcu-watch -d 8s --exposed -f json"),
                run("strict", "rcu-watch -d 8s --exposed -f json --fail-on warning"),
                spawn("plain", "rcu-watch -d 6s -f json"),
                sleep(4),
                read("plain-sites", ENABLED),
                wait("plain"),
            ]
        },
        expect: &[
            Expect::Exit { run: "exposed", code: 0 },
            Expect::Stream { run: "exposed" },
            Expect::Finding { run: "exposed", finding: EXPOSED_IDLE },
            Expect::NoneOf { run: "exposed", severity: "error" },
            Expect::Exit { run: "strict", code: 2 },
            Expect::Stream { run: "strict" },
            Expect::Exit { run: "plain", code: 0 },
            Expect::Stream { run: "plain" },
            Expect::NoFinding { run: "plain" },
            Expect::Without { file: "plain-sites", none_of: VICTIMS },
        ],
    },
    Scenario {
        name: "livepatch-idle",
        about: "a livepatch of arch_cpu_idle: its handler and body run with RCU off",
        kernels: EXPOSED,
        cpus: 2,
        modules: &["lab_livepatch_idle"],
        last: false,
        steps: || {
            vec![
                Step::LoadModule { name: "lab_livepatch_idle".into(), params: String::new() },
                until(&format!("{LIVEPATCH}/transition"), "0"),
                read("before", ENABLED),
                run("watch", "rcu-watch -d 8s -f json"),
                run("text", "rcu-watch -d 5s"),
                read("after", ENABLED),
                write(&format!("{LIVEPATCH}/enabled"), "0"),
                until(&format!("{LIVEPATCH}/enabled"), ""),
                Step::UnloadModule { name: "lab_livepatch_idle".into() },
            ]
        },
        expect: &[
            Expect::With { file: "before", text: "klp_ftrace_handler" },
            Expect::Exit { run: "watch", code: 2 },
            Expect::Stream { run: "watch" },
            Expect::Calibrated { run: "watch" },
            Expect::Finding { run: "watch", finding: LIVEPATCHED_IDLE },
            // fentry and livepatch exclude each other there.
            Expect::On {
                kernel: "5.10",
                expect: &Expect::Finding {
                    run: "watch",
                    finding: Finding { mechanism: Some("kprobe_ftrace"), ..LIVEPATCHED_IDLE },
                },
            },
            Expect::Exit { run: "text", code: 2 },
            Expect::Line {
                run: "text",
                has: &["RW001", "error", "arch_cpu_idle", "lab_livepatch_idle", "W=0 N=0 M=0"],
            },
            Expect::Same { file: "after", other: "before" },
        ],
    },
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
                sleep(6),
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
        name: "nmi",
        about: "NMIs out of idle and out of work: seen, counted, and nothing wrong with them",
        kernels: ALL,
        cpus: 2,
        modules: &[],
        last: false,
        steps: || {
            let mut steps = vec![spawn("watch", "rcu-watch -d 10s -f json"), sleep(5)];
            for _ in 0..5 {
                steps.push(Step::Monitor { command: "nmi".into() });
                steps.push(Step::Sleep { time: Duration::from_millis(300) });
            }
            steps.push(wait("watch"));
            steps
        },
        expect: &[
            Expect::Exit { run: "watch", code: 0 },
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Hits { run: "watch", point: "nmi_enter", at_least: 2 },
        ],
    },
    Scenario {
        name: "one-cpu",
        about: "a guest with one CPU, which never sees another one idle: calibrates and judges",
        kernels: ALL,
        cpus: 1,
        modules: &[],
        last: false,
        steps: || {
            vec![
                spawn("load", "lab-load 30 1"),
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

/// Only our probe is on it: a warning to whoever else would hook it.
const EXPOSED_IDLE: Finding = Finding {
    rule: "RW015",
    severity: "warning",
    function: "arch_cpu_idle",
    handler: None,
    at_eqs: true,
    mechanism: None,
};

/// The break of the first issue of this kind, on stock kernels.
const LIVEPATCHED_IDLE: Finding = Finding {
    rule: "RW001",
    severity: "error",
    function: "arch_cpu_idle",
    handler: Some(("livepatch", "lab_livepatch_idle")),
    at_eqs: true,
    mechanism: None,
};

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Enough for loading and verifying under emulation, on top of the run's own duration.
const LIMIT: Duration = Duration::from_secs(90);

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn run(label: &str, line: &str) -> Step {
    Step::Run { label: label.into(), limit: LIMIT, argv: words(line) }
}

fn spawn(label: &str, line: &str) -> Step {
    Step::Spawn { label: label.into(), argv: words(line) }
}

fn wait(label: &str) -> Step {
    Step::Wait { label: label.into(), limit: LIMIT }
}

fn signal(label: &str, signal: i32) -> Step {
    Step::Signal { label: label.into(), signal }
}

fn sleep(seconds: u64) -> Step {
    Step::Sleep { time: Duration::from_secs(seconds) }
}

fn read(label: &str, path: &str) -> Step {
    Step::ReadFile { label: label.into(), path: path.into() }
}

fn write(path: &str, value: &str) -> Step {
    Step::WriteFile { path: path.into(), value: value.into() }
}

fn until(path: &str, value: &str) -> Step {
    Step::Until { path: path.into(), value: value.into(), limit: Duration::from_secs(30) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::matrix;
    use super::*;

    #[test]
    fn names_are_unique_and_kernels_known() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let kernels = SCENARIOS.iter().flat_map(|scenario| scenario.kernels);
        assert!(kernels.into_iter().all(|kernel| matrix::find(kernel).is_some()));
    }
}
