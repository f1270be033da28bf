//! The kernel's own tests of livepatching: what they come to alone, they come to beside rcu-watch.

use std::time::Duration;

use xtask::plan::Step;

use super::super::expect::{Check, Expect};
use super::super::{Scenario, Tools};
use super::steps::{SIGINT, await_text, run, signal, spawn, wait};

/// The slowest of them takes minutes under emulation.
const LIMIT: Duration = Duration::from_mins(15);

/// One of the kernel's scripts, without the check for headers: its modules are built.
fn script(label: &str, name: &str) -> Step {
    let line = format!("cd /lab/selftests && KDIR=/ exec ./test-{name}.sh");
    Step::Run { label: label.into(), limit: LIMIT, argv: vec!["bash".into(), "-c".into(), line] }
}

pub(super) static SCENARIOS: &[Scenario] = &[Scenario {
    name: "selftests",
    about: "the kernel's own tests of livepatching, beside rcu-watch and alone: the same results, every livepatch told",
    kernels: &["6.12"],
    tools: Tools::Selftests,
    heavy: true,
    append: "log_buf_len=4M",
    elsewhere: "the tests come with the source of one kernel, and their modules are built for it",
    steps: || {
        vec![
            spawn("watch", "rcu-watch -f json"),
            await_text("watch", "\"header\""),
            script("livepatch", "livepatch"),
            script("callbacks", "callbacks"),
            script("shadow-vars", "shadow-vars"),
            script("state", "state"),
            script("sysfs", "sysfs"),
            script("syscall", "syscall"),
            signal("watch", SIGINT),
            wait("watch"),
            run("log", "dmesg -c"),
            spawn("watch-ftrace", "rcu-watch -f json"),
            await_text("watch-ftrace", "\"header\""),
            script("ftrace", "ftrace"),
            signal("watch-ftrace", SIGINT),
            wait("watch-ftrace"),
            run("log-ftrace", "dmesg -c"),
            script("livepatch-alone", "livepatch"),
            script("callbacks-alone", "callbacks"),
            script("shadow-vars-alone", "shadow-vars"),
            script("state-alone", "state"),
            script("sysfs-alone", "sysfs"),
            script("syscall-alone", "syscall"),
            script("ftrace-alone", "ftrace"),
        ]
    },
    expect: &[
        Expect::of("watch", Check::Stream),
        Expect::of("watch", Check::LivepatchesAsIn { log: "log" }),
        // They take long only where the machine is busy, and --stall-after is 15 s.
        Expect::of("watch", Check::OnlyStalls { log: "log", seconds: 14.0 }),
        Expect::of("watch-ftrace", Check::NoFinding),
        Expect::of("watch-ftrace", Check::Stream),
        Expect::of("watch-ftrace", Check::LivepatchesAsIn { log: "log-ftrace" }),
        Expect::of("livepatch", Check::SameOutput { other: "livepatch-alone" }),
        Expect::of("callbacks", Check::SameOutput { other: "callbacks-alone" }),
        Expect::of("shadow-vars", Check::SameOutput { other: "shadow-vars-alone" }),
        Expect::of("state", Check::SameOutput { other: "state-alone" }),
        Expect::of("sysfs", Check::SameOutput { other: "sysfs-alone" }),
        Expect::of("syscall", Check::SameOutput { other: "syscall-alone" }),
        Expect::of("ftrace", Check::SameOutput { other: "ftrace-alone" }),
    ],
    ..Scenario::USUAL
}];
