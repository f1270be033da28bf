//! Livepatches that do not get where they should: stalled, forced, refused, waiting for their module.

use rcu_watch_core::probe::Point;
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, SIGINT, SIGKILL, await_text, await_times, load, read, run, signal, spawn, unload, until, wait, write,
};

const STALL_ACT: &str = "/sys/module/lab_stall/parameters/act";
const STALLING: &str = "lab_livepatch_stall";
const STALLING_ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_stall/enabled";
const STALLING_TRANSITION: &str = "/sys/kernel/livepatch/lab_livepatch_stall/transition";
const STALLING_FORCE: &str = "/sys/kernel/livepatch/lab_livepatch_stall/force";
const STALLING_PATCHED: &str = r#""patch":"lab_livepatch_stall","event":"transition_end","to_patched":true"#;

const CMDLINE: &str = "lab_livepatch_cmdline";
const CMDLINE_ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
const CMDLINE_PATCHED: &str = r#""patch":"lab_livepatch_cmdline","event":"transition_end","to_patched":true"#;

fn gone(patch: &str, enabled: &str) -> Vec<Step> {
    vec![write(enabled, "0"), until(enabled, ""), unload(patch)]
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "stalled-transition",
        about: "a kthread sleeps in a function to be patched: it is named with its stack, until it leaves",
        kernels: ALL,
        modules: &["lab_stall", STALLING],
        steps: || {
            let mut steps = vec![
                load("lab_stall"),
                write(STALL_ACT, "sleep"),
                spawn("watch", "rcu-watch --stall-after 3s -f json"),
                await_text("watch", "\"header\""),
                load(STALLING),
                await_text("watch", "\"RW018\""),
                run("stalled", "rcu-watch patches --wait 20s"),
                write(STALL_ACT, "leave"),
                run("done", "rcu-watch patches --wait 200s"),
                await_text("watch", STALLING_PATCHED),
                signal("watch", SIGINT),
                wait("watch"),
            ];
            steps.extend(gone(STALLING, STALLING_ENABLED));
            steps.push(unload("lab_stall"));
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of(
                "watch",
                Check::Fired { rule: RuleId::TransitionStalled, severity: Severity::Warning },
            ),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Line(&["RW018", "lab_livepatch_stall", "lab_stall_sleep"])),
            Expect::of("stalled", Check::Exit(2)),
            Expect::of("stalled", Check::Line(&[STALLING])),
            Expect::of("stalled", Check::Line(&["lab_stall", "lab_stall_sleep"])),
            Expect::of("stalled", Check::Line(&["lab_stall_sleep+0x"])),
            Expect::of("done", Check::Exit(0)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "late-module",
        about: "a livepatch of a module that is loaded later: planned again then, and its replacement's runs judged",
        kernels: ALL,
        modules: &["lab_stall", STALLING],
        steps: || {
            let mut steps = vec![
                load(STALLING),
                until(STALLING_TRANSITION, "0"),
                run("waiting", "rcu-watch patches"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                load("lab_stall"),
                await_text("watch", "\"plan_change\""),
                write(STALL_ACT, "call"),
                signal("watch", SIGINT),
                wait("watch"),
            ];
            steps.extend(gone(STALLING, STALLING_ENABLED));
            steps.push(unload("lab_stall"));
            steps
        },
        expect: &[
            Expect::of("waiting", Check::Exit(0)),
            Expect::of("waiting", Check::Line(&["lab_stall", "not loaded"])),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Hits { point: Point::PatchedFunction, at_least: 20 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "refused-livepatch",
        about: "a module's kprobe with a post handler keeps a livepatch out: foreseen, and never told as loaded",
        kernels: ALL,
        modules: &["lab_kprobe", CMDLINE],
        steps: || {
            vec![
                Step::LoadModule { name: "lab_kprobe".into(), params: "post=1".into() },
                run("check", "rcu-watch check --no-probe /lab/modules/lab_livepatch_cmdline.ko"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                run("insmod", "lab-insmod lab_livepatch_cmdline"),
                read("cmdline", "/proc/cmdline"),
                run("patches", "rcu-watch patches"),
                signal("watch", SIGINT),
                wait("watch"),
                unload("lab_kprobe"),
                // Now that the kprobe is gone, it loads.
                run("check-again", "rcu-watch check --no-probe /lab/modules/lab_livepatch_cmdline.ko"),
            ]
        },
        expect: &[
            Expect::of("check", Check::Exit(2)),
            Expect::of("check", Check::Line(&["cmdline_proc_show"])),
            Expect::of("check", Check::Line(&["post_handler", "of module lab_kprobe"])),
            Expect::of("insmod", Check::Exit(1)),
            Expect::of("insmod", Check::Line(&["busy"])),
            Expect::of("patches", Check::NoLine(&[CMDLINE])),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::NoLine(&["\"livepatch\"", CMDLINE, "\"event\":\"load\""])),
            Expect::of("watch", Check::NoLine(&["\"livepatch\"", CMDLINE, "\"event\":\"transition_end\""])),
            Expect::of("check-again", Check::ExitIn(&[0, 3])),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "fentry-and-livepatch",
        about: "a BPF trampoline and a livepatch on one function, in both orders, beside rcu-watch: neither fails",
        kernels: &["6.1", "6.12", "sid"],
        modules: &[CMDLINE],
        heavy: true,
        elsewhere: "a BPF trampoline and a livepatch exclude each other there: `fentry-or-livepatch`",
        steps: || {
            let mut steps = vec![
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                load(CMDLINE),
                await_text("watch", CMDLINE_PATCHED),
                spawn("second", "lab-empty function cmdline_proc_show"),
                await_text("second", "lab-empty: "),
                read("cmdline", "/proc/cmdline"),
                run("handlers", "rcu-watch handlers --function cmdline_proc_show"),
                signal("second", SIGKILL),
                wait("second"),
            ];
            steps.extend(gone(CMDLINE, CMDLINE_ENABLED));
            steps.extend([
                spawn("first", "lab-empty function cmdline_proc_show"),
                await_text("first", "lab-empty: "),
                run("check", "rcu-watch check --no-probe /lab/modules/lab_livepatch_cmdline.ko"),
                load(CMDLINE),
                await_times("watch", CMDLINE_PATCHED, 2),
                read("cmdline-again", "/proc/cmdline"),
                run("handlers-again", "rcu-watch handlers --function cmdline_proc_show"),
                signal("first", SIGKILL),
                wait("first"),
            ]);
            steps.extend(gone(CMDLINE, CMDLINE_ENABLED));
            steps.extend([signal("watch", SIGINT), wait("watch")]);
            steps
        },
        expect: &[
            Expect::of("second", Check::Line(&["attached"])),
            Expect::of("first", Check::Line(&["attached"])),
            Expect::of("cmdline", Check::With("live patched")),
            Expect::of("cmdline-again", Check::With("live patched")),
            Expect::of("handlers", Check::Line(&["cmdline_proc_show", "livepatch", CMDLINE])),
            Expect::of("handlers", Check::Line(&["cmdline_proc_show", "lab_empty"])),
            Expect::of("handlers-again", Check::Line(&["cmdline_proc_show", "livepatch", CMDLINE])),
            Expect::of("handlers-again", Check::Line(&["cmdline_proc_show", "lab_empty"])),
            Expect::of("check", Check::ExitIn(&[0, 3])),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "fentry-or-livepatch",
        about: "a BPF trampoline and a livepatch exclude each other: who comes second is refused, and it is foreseen",
        kernels: &["5.10"],
        modules: &[CMDLINE],
        heavy: true,
        elsewhere: "a BPF trampoline and a livepatch share a function there: `fentry-and-livepatch`",
        steps: || {
            let mut steps = vec![
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                load(CMDLINE),
                await_text("watch", CMDLINE_PATCHED),
                run("second", "lab-empty function cmdline_proc_show"),
                read("cmdline", "/proc/cmdline"),
                run("handlers", "rcu-watch handlers --function cmdline_proc_show"),
            ];
            steps.extend(gone(CMDLINE, CMDLINE_ENABLED));
            steps.extend([
                spawn("first", "lab-empty function cmdline_proc_show"),
                await_text("first", "attached"),
                run("check", "rcu-watch check --no-probe /lab/modules/lab_livepatch_cmdline.ko"),
                run("insmod", "lab-insmod lab_livepatch_cmdline"),
                run("handlers-again", "rcu-watch handlers --function cmdline_proc_show"),
                signal("first", SIGKILL),
                wait("first"),
                signal("watch", SIGINT),
                wait("watch"),
            ]);
            steps
        },
        expect: &[
            Expect::of("second", Check::Exit(1)),
            Expect::of("cmdline", Check::With("live patched")),
            Expect::of("handlers", Check::Line(&["cmdline_proc_show", "livepatch", CMDLINE])),
            Expect::of("handlers", Check::NoLine(&["lab_empty"])),
            Expect::of("check", Check::Exit(2)),
            Expect::of("check", Check::Line(&["cmdline_proc_show"])),
            Expect::of("insmod", Check::Exit(1)),
            Expect::of("handlers-again", Check::Line(&["cmdline_proc_show", "lab_empty"])),
            Expect::of("handlers-again", Check::NoLine(&[CMDLINE])),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    // After those that load the same livepatch: a patch that was forced never leaves.
    Scenario {
        name: "forced-transition",
        about: "a stalled transition is forced: an error, with who still is in old code; nothing new at the next run",
        kernels: ALL,
        modules: &["lab_stall", STALLING],
        last: true,
        steps: || {
            vec![
                load("lab_stall"),
                write(STALL_ACT, "sleep"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                load(STALLING),
                await_text("watch", "\"transition_start\""),
                run("patches", "rcu-watch patches"),
                write(STALLING_FORCE, "1"),
                until(STALLING_TRANSITION, "0"),
                await_text("watch", "\"RW019\""),
                signal("watch", SIGINT),
                wait("watch"),
                run("later", "rcu-watch -d 4s -f json"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::ConsistencyForced, severity: Severity::Error }),
            Expect::of("watch", Check::Line(&["RW019", STALLING])),
            Expect::of("later", Check::Exit(0)),
            Expect::of("later", Check::Fired { rule: RuleId::ConsistencyForced, severity: Severity::Info }),
        ],
        ..Scenario::USUAL
    },
];
