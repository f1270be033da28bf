//! `audit` and `check`: which functions run with RCU off, found by looking, and told before anybody hooks them.

use std::time::Duration;

use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::report::audit::{AuditVerdict, CheckAnswer};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::breaks::EXPOSED_IDLE;
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

pub(super) static SCENARIOS: &[Scenario] = &[
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
            Expect::of("nobody-asked", Check::Exit(1)),
            Expect::of("nobody-asked", Check::Line(&["--yes"])),
            Expect::of("audit", Check::Stream),
            Expect::of("audit", Check::OnlyOn(REACHABLE)),
            Expect::of("after", Check::Same { other: "before" }),
            Expect::of("audit", Check::Exit(2)).on("5.10"),
            Expect::of("audit", Check::Exit(2)).on("6.1"),
            Expect::of(
                "audit",
                Check::Finding(Finding { mechanism: Some(Mechanism::KprobeFtrace), ..EXPOSED_IDLE }),
            )
            .on("5.10"),
            Expect::of("audit", Check::Finding(EXPOSED_IDLE)).on("6.1"),
            AUDITED_E400.on("5.10"),
            AUDITED_E400.on("6.1"),
            Expect::of(
                "audit",
                Check::Audited { function: "rcu_idle_exit", verdict: AuditVerdict::RcuInternal },
            )
            .on("5.10"),
            Expect::of("few", Check::Line(&["1 of ", "traceable functions exposed"])).on("6.1"),
            Expect::of("audit", Check::Exit(0)).on("6.12"),
            Expect::of("audit", Check::NoFinding).on("6.12"),
            Expect::of("audit", Check::Exit(0)).on("sid"),
            Expect::of("audit", Check::NoFinding).on("sid"),
            Expect::of("few", Check::Line(&["0 of ", "traceable functions exposed"])).on("6.12"),
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
            Expect::of("audit", Check::Killed(SIGKILL)),
            Expect::of("after", Check::Same { other: "before" }),
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
            Expect::of("audit", Check::Exit(2)),
            Expect::of("audit", Check::Stream),
            Expect::of("audit", Check::OnlyOn(REACHABLE)),
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
            Expect::of("audit", Check::Exit(2)),
            Expect::of("audit", Check::Line(&["only known candidates were probed", "function tracer"])),
            Expect::of("audit", Check::Line(&["exposed", "arch_cpu_idle", "W=0 N=0 M=0"])),
            Expect::of("audit", Check::Line(&["known candidates exposed"])),
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
            Expect::of("idle", Check::Exit(2)),
            Expect::of("idle", Check::Stream),
            Expect::of("idle", Check::Finding(EXPOSED_IDLE)),
            Expect::of(
                "idle",
                Check::Checked { function: "arch_cpu_idle", answer: CheckAnswer::RunsWithRcuOff },
            ),
            Expect::of("known", Check::Exit(2)),
            Expect::of("known", Check::Line(&["arch_cpu_idle", "known victim"])),
            Expect::of("nobody-asked", Check::Exit(1)),
            Expect::of("not-found", Check::Exit(3)),
            Expect::of("cmdline", Check::Exit(0)),
            Expect::of("cmdline", Check::Stream),
            Expect::of("cmdline", Check::NoFinding),
            Expect::of(
                "cmdline",
                Check::Checked { function: "cmdline_proc_show", answer: CheckAnswer::NoEvidence },
            ),
            Expect::of("cmdline", Check::Hits { point: Point::IdleVictim, at_least: 1 }),
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
            Expect::of("idle", Check::Exit(2)),
            Expect::of("idle", Check::Stream),
            Expect::of("idle", Check::Checked { function: "arch_cpu_idle", answer: CheckAnswer::Noinstr }),
            Expect::of("cmdline", Check::Exit(0)),
            Expect::of("cmdline", Check::Stream),
            Expect::of(
                "cmdline",
                Check::Checked { function: "cmdline_proc_show", answer: CheckAnswer::NoEvidence },
            ),
            Expect::of("cmdline", Check::Hits { point: Point::IdleVictim, at_least: 1 }),
        ],
        ..Scenario::USUAL
    },
];

const AUDITED_E400: Expect =
    Expect::of("audit", Check::Audited { function: "amd_e400_idle", verdict: AuditVerdict::Exposed });
