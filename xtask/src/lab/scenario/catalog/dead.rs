//! Handlers that the kernel lists and that cannot run, and runs of handlers that it skipped.

use rcu_watch_core::probe::HandlerKind;
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::steps::{
    ALL, KPROBE_ENABLE, KPROBE_EVENTS, SIGINT, SIGKILL, await_text, read, run, signal, spawn, unload, until,
    wait, write,
};

const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
const KPROBES_ENABLED: &str = "/sys/kernel/debug/kprobes/enabled";
const PROFILE: &str = "/sys/kernel/tracing/kprobe_profile";
const PATCH: &str = "lab_livepatch_cmdline";
const PATCH_ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
const PATCH_TRANSITION: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/transition";

fn event(what: &str) -> Vec<Step> {
    vec![write(KPROBE_EVENTS, what), write(KPROBE_ENABLE, "1")]
}

fn no_event() -> Vec<Step> {
    vec![write(KPROBE_ENABLE, "0"), write(KPROBE_EVENTS, "")]
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kprobes-off",
        about: "kprobes are switched off under somebody's kprobe event, before the run and in the middle of it: dead",
        kernels: ALL,
        heavy: true,
        steps: || {
            let mut steps = event("p:lab/site do_nanosleep");
            steps.extend([
                spawn("load", "lab-load 600 1"),
                spawn("midway", "rcu-watch -f json"),
                await_text("midway", "\"header\""),
                write(KPROBES_ENABLED, "0"),
                await_text("midway", "\"RW016\""),
                signal("midway", SIGINT),
                wait("midway"),
                run("before", "rcu-watch -d 5s -f json"),
                run("doctor", "rcu-watch doctor"),
                write(KPROBES_ENABLED, "1"),
                signal("load", SIGKILL),
                wait("load"),
            ]);
            steps.extend(no_event());
            steps
        },
        expect: &[
            Expect::of("midway", Check::Exit(2)),
            Expect::of("midway", Check::Stream),
            Expect::of("midway", Check::Finding(DISARMED)),
            Expect::of("before", Check::Exit(2)),
            Expect::of("before", Check::Stream),
            Expect::of("before", Check::Finding(DISARMED)),
            Expect::of("before", Check::NoneOfRule(RuleId::HandlerUnwatched)),
            Expect::of("doctor", Check::Line(&["kprobes", "echo 1 >", "kprobes/enabled"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "patched-over",
        about: "a kprobe in the body of a function that a livepatch replaced: it never runs any more",
        kernels: ALL,
        modules: &["lab_kprobe", PATCH],
        heavy: true,
        steps: || {
            vec![
                Step::LoadModule { name: "lab_kprobe".into(), params: "inside=1".into() },
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                Step::LoadModule { name: PATCH.into(), params: String::new() },
                until(PATCH_TRANSITION, "0"),
                await_text("watch", "\"RW016\""),
                signal("watch", SIGINT),
                wait("watch"),
                run("handlers", "rcu-watch handlers --function cmdline_proc_show"),
                write(PATCH_ENABLED, "0"),
                until(PATCH_ENABLED, ""),
                unload(PATCH),
                run("alive", "rcu-watch -d 5s -f json"),
                unload("lab_kprobe"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(REPLACED)),
            Expect::of("handlers", Check::Line(&["cmdline_proc_show", "kprobe", "lab_kprobe"])),
            Expect::of("handlers", Check::Line(&["cmdline_proc_show", "livepatch", PATCH])),
            Expect::of("handlers", Check::Line(&["dead"])),
            Expect::of("alive", Check::NoneOfRule(RuleId::HandlerDead)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "missed",
        about: "a kretprobe with room for one call at a time under four sleepers: what the kernel skipped is told",
        kernels: ALL,
        steps: || {
            let mut steps = event("r1:lab/site do_nanosleep");
            steps.extend([
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                spawn("load", "lab-load 600 8"),
                await_text("watch", "\"RW017\""),
                signal("load", SIGKILL),
                wait("load"),
                signal("watch", SIGINT),
                wait("watch"),
                read("profile", PROFILE),
                run("handlers", "rcu-watch handlers --function do_nanosleep"),
            ]);
            steps.extend(no_event());
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::HandlerMissed, severity: Severity::Warning }),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("handlers", Check::Line(&["do_nanosleep", "kretprobe"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "ftrace-off-midway",
        about: "kernel.ftrace_enabled is 0 when a run is to end: it waits, and ftrace is whole afterwards",
        kernels: &["6.1", "6.12", "sid"],
        elsewhere: "a BPF trampoline keeps ftrace from being switched off there",
        cpus: 1,
        steps: || {
            let mut steps = event("p:lab/site do_nanosleep");
            steps.extend([
                spawn("watch", "rcu-watch --allow-fentry -f json"),
                await_text("watch", "\"header\""),
                write(FTRACE, "0"),
                signal("watch", SIGINT),
                await_text("watch", "waiting for"),
                write(FTRACE, "1"),
                wait("watch"),
            ]);
            // Whoever unhooks something next is where the kernel would find what was left behind.
            steps.extend(no_event());
            steps.push(run("after", "rcu-watch doctor"));
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::ExitIn(&[0, 2, 3])),
            Expect::of("watch", Check::Line(&["do_nanosleep", "\"fentry\""])),
            Expect::of("after", Check::NoLine(&["ftrace", "shut itself down"])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "ftrace-off",
        about: "kernel.ftrace_enabled is 0 under somebody's kprobe event: dead, and what is ours is told to be dead too",
        kernels: ALL,
        cpus: 1,
        // Whoever unhooks something while ftrace is off leaves the kernel's records of it behind.
        last: true,
        steps: || {
            let mut steps = event("p:lab/site do_nanosleep");
            steps.extend([
                write(FTRACE, "0"),
                run("theirs", "rcu-watch -d 5s -f json"),
                write(KPROBE_ENABLE, "0"),
                write(KPROBE_EVENTS, ""),
                run("ours", "rcu-watch -d 5s"),
                run("doctor", "rcu-watch doctor"),
            ]);
            steps
        },
        expect: &[
            Expect::of("theirs", Check::ExitIn(&[2, 3, 4])),
            Expect::of("theirs", Check::Line(&["ftrace_enabled"])),
            Expect::of("ours", Check::ExitIn(&[3, 4])),
            Expect::of("ours", Check::Line(&["ftrace_enabled"])),
            Expect::of("doctor", Check::Line(&["ftrace_enabled", "sysctl"])),
        ],
        ..Scenario::USUAL
    },
];

const DISARMED: Finding = Finding {
    rule: RuleId::HandlerDead,
    severity: Severity::Error,
    function: "do_nanosleep",
    handler: Some((HandlerKind::Kprobe, "*")),
    at_eqs: false,
    mechanism: None,
};

const REPLACED: Finding = Finding { function: "cmdline_proc_show", ..DISARMED };
