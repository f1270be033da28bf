//! Recordings: judged again, they say what the run said.

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{EXPOSED, IDLE_IS_NOINSTR, LIVEPATCH, run, until, write};
use xtask::plan::Step;

pub(super) static SCENARIOS: &[Scenario] = &[Scenario {
    name: "record-replay",
    about: "a run that finds breaks, and the replay of its recording: the same findings, books and verdict",
    kernels: EXPOSED,
    modules: &["lab_livepatch_idle"],
    elsewhere: IDLE_IS_NOINSTR,
    steps: || {
        vec![
            Step::LoadModule { name: "lab_livepatch_idle".into(), params: String::new() },
            until(&format!("{LIVEPATCH}/transition"), "0"),
            run("live", "rcu-watch record /tmp/idle.rec -d 5s -f json --stream all"),
            run("replay", "rcu-watch replay /tmp/idle.rec -f json --stream all"),
            write(&format!("{LIVEPATCH}/enabled"), "0"),
            until(&format!("{LIVEPATCH}/enabled"), ""),
            Step::UnloadModule { name: "lab_livepatch_idle".into() },
        ]
    },
    expect: &[
        Expect::of("live", Check::Exit(2)),
        Expect::of("live", Check::Stream),
        Expect::of("live", Check::Delivered { at_least: 1 }),
        Expect::of("replay", Check::Exit(2)),
        Expect::of("replay", Check::Stream),
        Expect::of("replay", Check::Replays { live: "live" }),
    ],
    ..Scenario::USUAL
}];
