//! `rcu-watch handlers`: every handler on the kernel once, with whose it is.

use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{
    ALL, KPROBE_EVENTS, LIMIT, SIGKILL, await_text, load, run, signal, spawn, unload, until, wait, write,
};

const PATCH: &str = "lab_livepatch_cmdline";
const PATCH_ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
const PATCH_TRANSITION: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/transition";
const INSTANCE: &str = "/sys/kernel/tracing/instances/lab_events";
const INSTANCE_ENABLE: &str = "/sys/kernel/tracing/instances/lab_events/events/lab/site/enable";
const TRACER: &str = "/sys/kernel/tracing/instances/lab_tracer";
const TRACER_FILTER: &str = "/sys/kernel/tracing/instances/lab_tracer/set_ftrace_filter";
const TRACER_CURRENT: &str = "/sys/kernel/tracing/instances/lab_tracer/current_tracer";

pub(super) static SCENARIOS: &[Scenario] = &[Scenario {
    name: "census",
    about: "a livepatch, a module's kprobe, a kprobe event and a tracer in instances, BPF programs: each once, with its owner",
    kernels: ALL,
    modules: &[PATCH, "lab_kprobe"],
    steps: || {
        vec![
            load(PATCH),
            until(PATCH_TRANSITION, "0"),
            Step::LoadModule { name: "lab_kprobe".into(), params: "symbol=do_nanosleep".into() },
            run("make-events", &format!("lab-dir make {INSTANCE}")),
            write(KPROBE_EVENTS, "p:lab/site vfs_fsync_range"),
            write(INSTANCE_ENABLE, "1"),
            run("make-tracer", &format!("lab-dir make {TRACER}")),
            write(TRACER_FILTER, "vfs_fallocate"),
            write(TRACER_CURRENT, "function"),
            spawn("fentry", "lab-empty function vfs_truncate"),
            await_text("fentry", "attached"),
            spawn("kprobe", "lab-empty kprobe vfs_rmdir"),
            await_text("kprobe", "attached"),
            run("table", "rcu-watch handlers"),
            run("before", "rcu-watch handlers -f json -o /tmp/handlers.ndjson"),
            run("same", "rcu-watch handlers --diff /tmp/handlers.ndjson --exit-on-change"),
            signal("fentry", SIGKILL),
            wait("fentry"),
            run("less", "rcu-watch handlers --diff /tmp/handlers.ndjson --exit-on-change"),
            signal("kprobe", SIGKILL),
            wait("kprobe"),
            write(TRACER_CURRENT, "nop"),
            run("remove-tracer", &format!("lab-dir remove {TRACER}")),
            write(INSTANCE_ENABLE, "0"),
            run("remove-events", &format!("lab-dir remove {INSTANCE}")),
            write(KPROBE_EVENTS, ""),
            unload("lab_kprobe"),
            write(PATCH_ENABLED, "0"),
            Step::Until { path: PATCH_ENABLED.into(), value: String::new(), limit: LIMIT },
            unload(PATCH),
        ]
    },
    expect: &[
        Expect::of("table", Check::Exit(0)),
        Expect::of("table", Check::OneLine(&["cmdline_proc_show", "livepatch", PATCH])),
        Expect::of("table", Check::OneLine(&["do_nanosleep", "kprobe", "lab_kprobe"])),
        Expect::of("table", Check::OneLine(&["vfs_fsync_range", "kprobe", "lab"])),
        Expect::of("table", Check::OneLine(&["vfs_fallocate", "lab_tracer"])),
        Expect::of("table", Check::OneLine(&["vfs_truncate", "lab_empty", "lab-empty["])),
        Expect::of("table", Check::OneLine(&["vfs_rmdir", "lab_empty", "lab-empty["])),
        Expect::of("before", Check::Exit(0)),
        Expect::of("same", Check::Exit(0)),
        Expect::of("less", Check::Exit(2)),
        Expect::of("less", Check::OneLine(&["vfs_truncate", "lab_empty"])),
        Expect::of("less", Check::NoLine(&["vfs_rmdir"])),
    ],
    ..Scenario::USUAL
}];
