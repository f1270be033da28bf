//! The words in which scenarios are written: kernels, files of the guest, steps.

use std::time::Duration;

use xtask::plan::Step;

pub(super) const ALL: &[&str] = &["5.10", "6.1", "6.12", "sid"];
/// Kernels whose idle path calls traceable functions with RCU off.
pub(super) const EXPOSED: &[&str] = &["5.10", "6.1"];
/// Why a scenario of theirs says nothing on others.
pub(super) const IDLE_IS_NOINSTR: &str = "from 6.3 the idle path is noinstr: nobody can hook it";
/// Functions that these kernels run with RCU off, as far as a guest runs them.
pub(super) const VICTIMS: &[&str] =
    &["arch_cpu_idle", "default_idle", "default_idle_call", "cpuidle_enter_state"];

pub(super) const ENABLED: &str = "/sys/kernel/tracing/enabled_functions";
pub(super) const KPROBES: &str = "/sys/kernel/debug/kprobes/list";
pub(super) const LIVEPATCH: &str = "/sys/kernel/livepatch/lab_livepatch_idle";
pub(super) const TRACE: &str = "/sys/kernel/tracing/trace";
/// Of the module lab_eqs.
pub(super) const EQS_ACT: &str = "/sys/module/lab_eqs/parameters/act";
pub(super) const KPTR: &str = "/proc/sys/kernel/kptr_restrict";
pub(super) const KPROBE_EVENTS: &str = "/sys/kernel/tracing/kprobe_events";
pub(super) const KPROBE_ENABLE: &str = "/sys/kernel/tracing/events/lab/site/enable";

pub(super) const SIGINT: i32 = 2;
pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;
pub(super) const SIGCONT: i32 = 18;
pub(super) const SIGSTOP: i32 = 19;

/// Enough for loading and verifying under emulation, on top of the run's own duration.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

pub(super) fn run(label: &str, line: &str) -> Step {
    Step::Run { label: label.into(), limit: LIMIT, argv: words(line) }
}

pub(super) fn spawn(label: &str, line: &str) -> Step {
    Step::Spawn { label: label.into(), argv: words(line) }
}

pub(super) fn wait(label: &str) -> Step {
    Step::Wait { label: label.into(), limit: LIMIT }
}

pub(super) fn signal(label: &str, signal: i32) -> Step {
    Step::Signal { label: label.into(), signal }
}

pub(super) fn await_text(label: &str, text: &str) -> Step {
    await_times(label, text, 1)
}

pub(super) fn await_times(label: &str, text: &str, times: usize) -> Step {
    Step::Await { label: label.into(), text: text.into(), times, limit: LIMIT }
}

pub(super) fn load(name: &str) -> Step {
    Step::LoadModule { name: name.into(), params: String::new() }
}

pub(super) fn unload(name: &str) -> Step {
    Step::UnloadModule { name: name.into() }
}

pub(super) fn sleep(seconds: u64) -> Step {
    Step::Sleep { time: Duration::from_secs(seconds) }
}

pub(super) fn read(label: &str, path: &str) -> Step {
    Step::ReadFile { label: label.into(), path: path.into() }
}

pub(super) fn write(path: &str, value: &str) -> Step {
    Step::WriteFile { path: path.into(), value: value.into() }
}

pub(super) fn until(path: &str, value: &str) -> Step {
    Step::Until { path: path.into(), value: value.into(), limit: Duration::from_secs(120) }
}

/// Somebody's BPF program, `lab-empty` with these words, on what `lab_eqs` calls from its EQS by `act`: until the break
/// is told.
pub(super) fn program_in_eqs(on: &str, act: &str) -> Vec<Step> {
    vec![
        load("lab_eqs"),
        spawn("theirs", &format!("lab-empty {on}")),
        await_text("theirs", "attached"),
        spawn("watch", "rcu-watch -f json"),
        await_text("watch", "\"header\""),
        write(EQS_ACT, act),
        await_text("watch", "\"RW001\""),
        signal("watch", SIGINT),
        wait("watch"),
        signal("theirs", SIGKILL),
        wait("theirs"),
        unload("lab_eqs"),
    ]
}
