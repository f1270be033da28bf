//! `audit` and `check`: which functions run with RCU off, found by looking, and told before anybody hooks them.

use std::time::Duration;

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Expect, Finding};
use super::steps::{
    ALL, ENABLED, EXPOSED, IDLE_IS_NOINSTR, LIMIT, SIGCONT, SIGKILL, SIGSTOP, await_text, read, run, signal,
    sleep, spawn, wait,
};

/// A whole audit takes a minute of an idle machine's emulation; what is not done within this hangs.
const AUDIT_LIMIT: Duration = Duration::from_secs(900);

/// Every function that a guest of QEMU can be found to run with RCU off on these kernels: its CPU has the erratum
/// that makes idle go through amd_e400_idle. docs/kernel.md lists what other machines add.
const REACHABLE: &[&str] = &["arch_cpu_idle", "default_idle", "amd_e400_idle", "mwait_idle"];

fn audit(label: &str, line: &str) -> Step {
    Step::Run { label: label.into(), limit: AUDIT_LIMIT, argv: line.split(' ').map(str::to_owned).collect() }
}

/// Reads /proc/cmdline some times while a check observes the function behind it.
fn checked(label: &str, line: &str) -> Vec<Step> {
    let mut steps = vec![spawn(label, line), await_text(label, "observing")];
    for _ in 0..10 {
        steps.push(sleep(1));
        steps.push(read(&format!("{label}-cmdline"), "/proc/cmdline"));
    }
    steps.push(wait(label));
    steps
}

const EXPOSED_IDLE: Finding = Finding {
    rule: "RW015",
    severity: "warning",
    function: "arch_cpu_idle",
    handler: None,
    at_eqs: true,
    mechanism: None,
};

pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "audit",
        about: "all functions that run with RCU off, and no other; none from 6.3",
        kernels: ALL,
        steps: || {
            vec![
                run("nobody-asked", "rcu-watch audit"),
                spawn("load", "lab-load 600 1"),
                read("before", ENABLED),
                audit("audit", "rcu-watch audit --yes -f json"),
                audit("few", "rcu-watch audit --yes -d 3s --function arch_cpu_idle*"),
                signal("load", SIGKILL),
                wait("load"),
                read("after", ENABLED),
            ]
        },
        expect: &[
            Expect::Exit { run: "nobody-asked", code: 1 },
            Expect::Line { run: "nobody-asked", has: &["--yes"] },
            Expect::Stream { run: "audit" },
            Expect::OnlyOn { run: "audit", functions: REACHABLE },
            Expect::Same { file: "after", other: "before" },
            Expect::On { kernel: "5.10", expect: &Expect::Exit { run: "audit", code: 2 } },
            Expect::On { kernel: "6.1", expect: &Expect::Exit { run: "audit", code: 2 } },
            Expect::On {
                kernel: "5.10",
                expect: &Expect::Finding {
                    run: "audit",
                    finding: Finding { mechanism: Some("kprobe_ftrace"), ..EXPOSED_IDLE },
                },
            },
            Expect::On { kernel: "6.1", expect: &Expect::Finding { run: "audit", finding: EXPOSED_IDLE } },
            Expect::On { kernel: "5.10", expect: &AUDITED_E400 },
            Expect::On { kernel: "6.1", expect: &AUDITED_E400 },
            Expect::On {
                kernel: "5.10",
                expect: &Expect::Said {
                    run: "audit",
                    kind: "audited",
                    function: "rcu_idle_exit",
                    member: "verdict",
                    value: "rcu_internal",
                },
            },
            Expect::On {
                kernel: "6.1",
                expect: &Expect::Line { run: "few", has: &["1 of ", "traceable functions exposed"] },
            },
            Expect::On { kernel: "6.12", expect: &Expect::Exit { run: "audit", code: 0 } },
            Expect::On { kernel: "6.12", expect: &Expect::NoFinding { run: "audit" } },
            Expect::On { kernel: "sid", expect: &Expect::Exit { run: "audit", code: 0 } },
            Expect::On { kernel: "sid", expect: &Expect::NoFinding { run: "audit" } },
            Expect::On {
                kernel: "6.12",
                expect: &Expect::Line { run: "few", has: &["0 of ", "traceable functions exposed"] },
            },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "audit-killed",
        about: "kill -9 while every function is hooked: the guard child unhooks them and leaves nothing",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                read("before", ENABLED),
                spawn("audit", "rcu-watch audit --yes -d 60s"),
                await_text("audit", "1/3 tracing"),
                sleep(1),
                signal("audit", SIGKILL),
                wait("audit"),
                // The kernel puts its text back, which takes a while under emulation.
                Step::Until { path: ENABLED.into(), value: String::new(), limit: LIMIT },
                read("after", ENABLED),
            ]
        },
        expect: &[
            Expect::Killed { run: "audit", signal: SIGKILL },
            Expect::Same { file: "after", other: "before" },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "reader-stopped",
        about: "an audit that is stopped for seconds goes on after that: records that wait do not keep interrupts going",
        kernels: &["5.10"],
        elsewhere: "interrupts out of idle run few functions there that an audit probes: too little waits for its reader",
        steps: || {
            vec![
                spawn("load", "lab-load 600 1"),
                spawn("audit", "rcu-watch audit --yes -f json"),
                await_text("audit", "2/3 probing"),
                sleep(2),
                signal("audit", SIGSTOP),
                sleep(3),
                signal("audit", SIGCONT),
                wait("audit"),
                signal("load", SIGKILL),
                wait("load"),
            ]
        },
        expect: &[
            Expect::Exit { run: "audit", code: 2 },
            Expect::Stream { run: "audit" },
            Expect::OnlyOn { run: "audit", functions: REACHABLE },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "audit-locked",
        about: "without the function tracer: the known candidates are probed, and that is said",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                Step::Hide { path: "/sys/kernel/tracing/available_tracers".into() },
                audit("audit", "rcu-watch audit --yes"),
                Step::Unhide { path: "/sys/kernel/tracing/available_tracers".into() },
            ]
        },
        expect: &[
            Expect::Exit { run: "audit", code: 2 },
            Expect::Line { run: "audit", has: &["only known candidates were probed", "function tracer"] },
            Expect::Line { run: "audit", has: &["exposed", "arch_cpu_idle", "W=0 N=0 M=0"] },
            Expect::Line { run: "audit", has: &["known candidates exposed"] },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "check",
        about: "livepatches that are not loaded: one of arch_cpu_idle is unsafe, one of cmdline_proc_show is not",
        kernels: EXPOSED,
        modules: &["lab_livepatch_idle", "lab_livepatch_cmdline"],
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            let mut steps = vec![
                run("idle", "rcu-watch check --yes -d 4s -f json /lab/modules/lab_livepatch_idle.ko"),
                run("known", "rcu-watch check --no-probe /lab/modules/lab_livepatch_idle.ko"),
                run("nobody-asked", "rcu-watch check cmdline_proc_show"),
                run("not-found", "rcu-watch check --no-probe no_such_function"),
            ];
            steps.extend(checked(
                "cmdline",
                "rcu-watch check --yes -d 8s -f json /lab/modules/lab_livepatch_cmdline.ko",
            ));
            steps
        },
        expect: &[
            Expect::Exit { run: "idle", code: 2 },
            Expect::Stream { run: "idle" },
            Expect::Finding { run: "idle", finding: EXPOSED_IDLE },
            Expect::Said {
                run: "idle",
                kind: "checked",
                function: "arch_cpu_idle",
                member: "answer",
                value: "runs_with_rcu_off",
            },
            Expect::Exit { run: "known", code: 2 },
            Expect::Line { run: "known", has: &["arch_cpu_idle", "known victim"] },
            Expect::Exit { run: "nobody-asked", code: 1 },
            Expect::Exit { run: "not-found", code: 3 },
            Expect::Exit { run: "cmdline", code: 0 },
            Expect::Stream { run: "cmdline" },
            Expect::NoFinding { run: "cmdline" },
            Expect::Said {
                run: "cmdline",
                kind: "checked",
                function: "cmdline_proc_show",
                member: "answer",
                value: "no_evidence",
            },
            Expect::Hits { run: "cmdline", point: "idle_victim", at_least: 1 },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "check-noinstr",
        about: "from 6.3 the idle path lets nobody hook it; other functions stay as they were",
        kernels: &["6.12", "sid"],
        elsewhere: "up to 6.2 the idle path can be hooked, and is what `check` finds unsafe",
        steps: || {
            let mut steps = vec![run("idle", "rcu-watch check --yes -f json arch_cpu_idle default_idle")];
            steps.extend(checked("cmdline", "rcu-watch check --yes -d 8s -f json cmdline_proc_show"));
            steps
        },
        expect: &[
            Expect::Exit { run: "idle", code: 2 },
            Expect::Stream { run: "idle" },
            Expect::Said {
                run: "idle",
                kind: "checked",
                function: "arch_cpu_idle",
                member: "answer",
                value: "noinstr",
            },
            Expect::Exit { run: "cmdline", code: 0 },
            Expect::Stream { run: "cmdline" },
            Expect::Said {
                run: "cmdline",
                kind: "checked",
                function: "cmdline_proc_show",
                member: "answer",
                value: "no_evidence",
            },
            Expect::Hits { run: "cmdline", point: "idle_victim", at_least: 1 },
        ],
        ..Scenario::USUAL
    },
];

const AUDITED_E400: Expect = Expect::Said {
    run: "audit",
    kind: "audited",
    function: "amd_e400_idle",
    member: "verdict",
    value: "exposed",
};
