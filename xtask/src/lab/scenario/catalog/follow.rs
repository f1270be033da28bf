//! Handlers that come and go while rcu-watch runs, and whose they are: livepatches, and programs of others.

use rcu_watch_core::probe::{HandlerKind, Point};
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect, Finding};
use super::steps::{
    ALL, EXPOSED, IDLE_IS_NOINSTR, SIGINT, SIGKILL, await_text, await_times, load, program_in_eqs, read, run,
    signal, spawn, unload, until, wait, write,
};

const PATCH: &str = "lab_livepatch_cmdline";
const ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
/// As the stream has them.
const PATCHED: &str = r#""patch":"lab_livepatch_cmdline","event":"transition_end","to_patched":true"#;
const UNLOADED: &str = r#""patch":"lab_livepatch_cmdline","event":"unload""#;
const APPEARED: &str = r#""because":"handlers appeared""#;
const LEFT: &str = r#""because":"the last handler left""#;

/// Loads and unloads the livepatch; the first time it waits for the probe, and runs the patched function.
fn rounds(times: usize, watch: &str) -> Vec<Step> {
    let start = [spawn("watch", watch), await_text("watch", "\"header\"")];
    let round = |number: usize| {
        let mut steps = vec![load(PATCH), await_times("watch", PATCHED, number)];
        if number == 1 {
            steps.push(await_text("watch", APPEARED));
            steps.extend((0..5).map(|_| read("cmdline", "/proc/cmdline")));
        }
        steps.push(write(ENABLED, "0"));
        steps.push(until(ENABLED, ""));
        steps.push(await_times("watch", UNLOADED, number));
        steps.push(unload(PATCH));
        if number == 1 {
            steps.push(await_text("watch", LEFT));
        }
        steps
    };
    let end = [signal("watch", SIGINT), wait("watch")];
    start.into_iter().chain((1..=times).flat_map(round)).chain(end).collect()
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "livepatch-follow",
        about: "a livepatch loaded and unloaded three times: reported, attached to, left, and replayed as that",
        kernels: ALL,
        modules: &[PATCH],
        steps: || {
            let mut steps = rounds(3, "rcu-watch record -f json /tmp/livepatches");
            steps.push(run("again", "rcu-watch replay -f json /tmp/livepatches"));
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Livepatches { patch: PATCH, times: 3 }),
            Expect::of("cmdline", Check::With("live patched")),
            Expect::of("watch", Check::Hits { point: Point::PatchedFunction, at_least: 5 }),
            Expect::of("watch", Check::Hits { point: Point::KlpTransition, at_least: 6 }),
            Expect::of("again", Check::Replays { live: "watch" }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "livepatch-load-unload",
        about: "the same twenty times: each is reported, and none fails to load for our sake",
        kernels: ALL,
        modules: &[PATCH],
        heavy: true,
        steps: || rounds(20, "rcu-watch -f json"),
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoFinding),
            Expect::of("watch", Check::Livepatches { patch: PATCH, times: 20 }),
            Expect::of("watch", Check::Hits { point: Point::PatchedFunction, at_least: 5 }),
            Expect::of("watch", Check::Hits { point: Point::KlpTransition, at_least: 40 }),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "bpf-kprobe",
        about: "a BPF program of somebody else's on a function that a module calls from a real EQS: named with its id",
        kernels: ALL,
        modules: &["lab_eqs"],
        steps: || program_in_eqs("kprobe lab_eqs_target", "call"),
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(THEIRS_IN_A_MODULE)),
            Expect::of("watch", Check::Line(NAMED_WITH_ITS_ID)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "bpf-idle",
        about: "a BPF trampoline of somebody else's on arch_cpu_idle: its program is named with its id",
        kernels: EXPOSED,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            vec![
                spawn("theirs", "lab-empty function arch_cpu_idle"),
                await_text("theirs", "attached"),
                run("watch", "rcu-watch -d 4s -f json"),
                signal("theirs", SIGKILL),
                wait("theirs"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Exit(2)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Finding(THEIRS_IN_IDLE)),
            Expect::of("watch", Check::Line(NAMED_WITH_ITS_ID)),
        ],
        ..Scenario::USUAL
    },
];

const NAMED_WITH_ITS_ID: &[&str] =
    &["\"finding\"", "\"RW001\"", "\"kind\":\"bpf\",\"name\":\"lab_empty\",\"program\":"];

const THEIRS_IN_IDLE: Finding = Finding {
    rule: RuleId::HandlerUnwatched,
    severity: Severity::Error,
    function: "arch_cpu_idle",
    handler: Some((HandlerKind::Bpf, "lab_empty")),
    at_eqs: true,
    mechanism: None,
};

const THEIRS_IN_A_MODULE: Finding = Finding { function: "lab_eqs_target", ..THEIRS_IN_IDLE };
