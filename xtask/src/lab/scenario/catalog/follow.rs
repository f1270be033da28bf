//! Handlers that come and go while rcu-watch runs: livepatches, and kprobes in modules.

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::Expect;
use super::steps::{
    ALL, SIGINT, await_text, await_times, load, read, signal, spawn, unload, until, wait, write,
};

const PATCH: &str = "lab_livepatch_cmdline";
const ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
/// As the stream has them.
const PATCHED: &str = r#""patch":"lab_livepatch_cmdline","event":"transition_end","to_patched":true"#;
const UNLOADED: &str = r#""patch":"lab_livepatch_cmdline","event":"unload""#;
const APPEARED: &str = r#""because":"handlers appeared""#;
const LEFT: &str = r#""because":"the last handler left""#;

/// Loads and unloads the livepatch; the first time it waits for the probe, and runs the patched function.
fn rounds(times: usize) -> Vec<Step> {
    let start = [spawn("watch", "rcu-watch -f json"), await_text("watch", "\"header\"")];
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

pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "livepatch-follow",
        about: "a livepatch loaded and unloaded three times: reported, attached to, left",
        kernels: ALL,
        cpus: 2,
        modules: &[PATCH],
        last: false,
        heavy: false,
        elsewhere: "",
        append: "",
        steps: || rounds(3),
        expect: &[
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Livepatches { run: "watch", patch: PATCH, times: 3 },
            Expect::With { file: "cmdline", text: "live patched" },
            Expect::Hits { run: "watch", point: "patched_function", at_least: 5 },
            Expect::Hits { run: "watch", point: "klp_transition", at_least: 6 },
        ],
    },
    Scenario {
        name: "livepatch-load-unload",
        about: "the same twenty times: each is reported, and none fails to load for our sake",
        kernels: ALL,
        cpus: 2,
        modules: &[PATCH],
        last: false,
        heavy: true,
        elsewhere: "",
        append: "",
        steps: || rounds(20),
        expect: &[
            Expect::Stream { run: "watch" },
            Expect::NoFinding { run: "watch" },
            Expect::Livepatches { run: "watch", patch: PATCH, times: 20 },
            Expect::Hits { run: "watch", point: "patched_function", at_least: 5 },
            Expect::Hits { run: "watch", point: "klp_transition", at_least: 40 },
        ],
    },
];
