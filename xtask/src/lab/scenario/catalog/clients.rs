//! Debian's bpftrace, perf, trace-cmd, bpftool and bpfcc beside rcu-watch: whose they are, and that nobody is in the
//! other's way.

use rcu_watch_core::probe::HandlerKind;
use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::expect::{Check, Expect, Finding};
use super::super::{Scenario, Tools};
use super::steps::{
    IDLE_IS_NOINSTR, SIGINT, SIGKILL, await_text, await_times, load, run, signal, spawn, unload, until, wait,
    write,
};

const PATCH: &str = "lab_livepatch_cmdline";
const PATCH_ENABLED: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/enabled";
const PATCH_TRANSITION: &str = "/sys/kernel/livepatch/lab_livepatch_cmdline/transition";

const OF_ONE_RELEASE: &str =
    "one release's tools are tried, those of bookworm, on the two kernels that it has";

/// A session that has said twice that it runs: all of its probes are attached then.
fn bpftrace(label: &str, probe: &str) -> Vec<Step> {
    let script = format!("{probe} {{ @ = count(); }} interval:ms:300 {{ printf(\"running\\n\"); }}");
    vec![
        Step::Spawn { label: label.into(), argv: vec!["bpftrace".into(), "-e".into(), script] },
        await_times(label, "running", 2),
    ]
}

fn end(label: &str) -> Vec<Step> {
    vec![signal(label, SIGINT), wait(label)]
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "clients",
        about: "a livepatch, two bpftrace sessions, a tool of bpfcc, a perf probe, a trace-cmd instance, a module's kprobe: each once, with its owner",
        kernels: &["6.1", "6.12"],
        modules: &[PATCH, "lab_kprobe"],
        tools: Tools::Clients,
        heavy: true,
        elsewhere: OF_ONE_RELEASE,
        steps: || {
            let mut steps = vec![
                load(PATCH),
                until(PATCH_TRANSITION, "0"),
                Step::LoadModule { name: "lab_kprobe".into(), params: "symbol=vfs_truncate".into() },
            ];
            steps.extend(bpftrace("one", "kprobe:do_nanosleep"));
            steps.extend(bpftrace("several", "kprobe:vfs_mk*"));
            steps.extend([
                // Python keeps what it prints to a pipe until there is much of it.
                spawn("bpfcc", "env PYTHONUNBUFFERED=1 funccount-bpfcc vfs_symlink"),
                await_text("bpfcc", "Tracing 1 functions"),
                run("perf-probe", "perf probe --add vfs_fsync_range"),
                run("trace-cmd", "trace-cmd start -B lab_trace -p function -l vfs_fallocate"),
                run(
                    "table",
                    "perf record -a -e probe:vfs_fsync_range -o /tmp/perf.data -- rcu-watch handlers",
                ),
                run("bpftool", "bpftool prog show"),
                run("watch", "rcu-watch -d 8s -f json"),
                run("before", "rcu-watch handlers -f json -o /tmp/handlers.ndjson"),
            ]);
            steps.extend([signal("one", SIGKILL), wait("one")]);
            steps.push(run("less", "rcu-watch handlers --diff /tmp/handlers.ndjson --exit-on-change"));
            steps.push(run("symlink", "busybox ln -s /tmp/here /tmp/there"));
            steps.extend(end("several"));
            steps.extend(end("bpfcc"));
            steps.extend([
                run("trace-cmd-reset", "trace-cmd reset -B lab_trace -d"),
                run("perf-delete", "perf probe --del probe:vfs_fsync_range"),
                unload("lab_kprobe"),
                write(PATCH_ENABLED, "0"),
                until(PATCH_ENABLED, ""),
                unload(PATCH),
            ]);
            steps
        },
        expect: &[
            Expect::of("table", Check::OneLine(&["cmdline_proc_show", "livepatch", PATCH])),
            Expect::of("table", Check::OneLine(&["do_nanosleep", "bpftrace["])),
            Expect::of("table", Check::Line(&["vfs_mkdir", "bpftrace["])),
            Expect::of("table", Check::OneLine(&["vfs_symlink", "funccount-bpfcc["])),
            Expect::of("table", Check::OneLine(&["vfs_fsync_range", "perf["])),
            Expect::of("table", Check::OneLine(&["vfs_fallocate", "lab_trace"])),
            Expect::of("table", Check::OneLine(&["vfs_truncate", "lab_kprobe"])),
            Expect::of("bpftool", Check::Exit(0)),
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::ExitIn(&[0, 3])),
            Expect::of("before", Check::Exit(0)),
            Expect::of("less", Check::Exit(2)),
            Expect::of("less", Check::OneLine(&["do_nanosleep", "bpftrace"])),
            Expect::of("less", Check::NoLine(&["vfs_mkdir"])),
            Expect::of("several", Check::Exit(0)),
            Expect::of("bpfcc", Check::Exit(0)),
            // Printed only where it counted some.
            Expect::of("bpfcc", Check::Line(&["vfs_symlink  "])),
            Expect::of("trace-cmd", Check::Exit(0)),
            Expect::of("perf-probe", Check::Exit(0)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "clients-idle",
        about: "bpftrace, perf and trace-cmd on functions that run with RCU off: two break, one does not rely on RCU",
        kernels: &["6.1"],
        tools: Tools::Clients,
        heavy: true,
        elsewhere: IDLE_IS_NOINSTR,
        steps: || {
            let mut steps = bpftrace("bpftrace", "kprobe:arch_cpu_idle");
            steps.push(run("of-bpftrace", "rcu-watch -d 5s -f json"));
            steps.extend(end("bpftrace"));
            steps.extend([
                run("perf-probe", "perf probe --add arch_cpu_idle"),
                run(
                    "of-perf",
                    "perf record -a -e probe:arch_cpu_idle -o /tmp/perf.data -- rcu-watch -d 5s -f json",
                ),
                run("perf-delete", "perf probe --del probe:arch_cpu_idle"),
                run("trace-cmd", "trace-cmd start -B lab_trace -p function -l arch_cpu_idle"),
                run("of-trace-cmd", "rcu-watch -d 5s -f json"),
                run("trace-cmd-reset", "trace-cmd reset -B lab_trace -d"),
            ]);
            steps
        },
        expect: &[
            Expect::of("of-bpftrace", Check::Exit(2)),
            Expect::of("of-bpftrace", Check::Stream),
            Expect::of("of-bpftrace", Check::Line(&["\"RW001\"", "arch_cpu_idle", "bpftrace"])),
            Expect::of("of-perf", Check::Stream),
            Expect::of("of-perf", Check::Line(&["\"RW001\"", "arch_cpu_idle"])),
            Expect::of("of-trace-cmd", Check::Exit(0)),
            Expect::of("of-trace-cmd", Check::Stream),
            Expect::of("of-trace-cmd", Check::Finding(TRACED)),
            Expect::of("of-trace-cmd", Check::NoneOf(Severity::Error)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "clients-missed",
        about: "a bpftrace probe that is reached from inside another: the kernel skips it, and counts that from 6.7, for us as for bpftool",
        kernels: &["6.1", "6.12"],
        tools: Tools::Clients,
        heavy: true,
        elsewhere: OF_ONE_RELEASE,
        steps: || {
            // Nobody but the load truncates files: between two readings the numbers stay.
            let script = "kprobe:do_truncate { @a[comm] = count(); } \
                          kprobe:bpf_get_current_com* { @b = count(); } \
                          interval:ms:300 { printf(\"running\\n\"); }";
            let mut steps = vec![
                Step::Spawn {
                    label: "theirs".into(),
                    argv: vec!["bpftrace".into(), "-e".into(), script.into()],
                },
                await_times("theirs", "running", 2),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                run("load", "lab-write /tmp/truncated x 3"),
                await_text("watch", "\"heartbeat\""),
                signal("watch", SIGINT),
                wait("watch"),
                run("handlers", "rcu-watch handlers -f json"),
                run("bpftool", "bpftool prog show"),
            ];
            steps.extend(end("theirs"));
            steps
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Fired { rule: RuleId::HandlerMissed, severity: Severity::Warning })
                .on("6.12"),
            Expect::of("handlers", Check::MissesAsIn { bpftool: "bpftool" }).on("6.12"),
            Expect::of("handlers", Check::Line(&["do_truncate", "bpftrace"])),
        ],
        ..Scenario::USUAL
    },
];

const TRACED: Finding = Finding {
    rule: RuleId::ExposedFunction,
    severity: Severity::Warning,
    function: "arch_cpu_idle",
    handler: Some((HandlerKind::FtraceOps, "*")),
    at_eqs: true,
    mechanism: None,
};
