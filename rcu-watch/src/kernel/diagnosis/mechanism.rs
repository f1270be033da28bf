//! The ways in which a program gets to a place, and the capabilities that each takes on this kernel.

use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};

use super::{check, of_support};
use crate::kernel::facts::Facts;
use crate::kernel::read::privilege::Capability;

const GROUP: CheckGroup = CheckGroup::Mechanism;

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let features = &facts.features;
    let no_function_probe = !features.fentry.is_yes() && !features.kprobe.is_yes();
    let no_transport = !features.ring_buffer.is_yes() && !features.perf_event_array.is_yes();
    // kernel/bpf/syscall.c:bpf_prog_load: every program of ours is of a kind that also wants CAP_PERFMON.
    let program = [Capability::Bpf, Capability::Perfmon];
    let row = |name, support, purpose, needed, needs: &[Capability]| Check {
        needs: names(facts, needs),
        ..of_support(GROUP, name, support, purpose, needed)
    };
    vec![
        row("BPF", &features.bpf, "programs load", true, &program),
        row(
            "ring buffer",
            &features.ring_buffer,
            "records come through it",
            no_transport,
            &[Capability::Bpf],
        ),
        row(
            "perf event array",
            &features.perf_event_array,
            "records come through it where there is no ring buffer",
            no_transport,
            &program,
        ),
        row("raw tracepoint", &features.raw_tracepoint, "context switches, idle, NMIs", true, &program),
        row("fentry", &features.fentry, "functions with handlers", no_function_probe, &program),
        row("kprobe", &features.kprobe, "functions where fentry cannot be", no_function_probe, &program),
        row(
            "kprobe on ftrace",
            &features.kprobe_on_ftrace,
            "kprobes run in the context of their function",
            false,
            &[],
        ),
        row("perf event", &features.perf_event, "programs on perf events load", false, &program),
    ]
}

/// What watchpoints are worth here. `open` tries one on this process's own memory, where they are offered at all.
#[must_use]
pub(crate) fn watchpoint(facts: &Facts, open: impl FnOnce() -> Result<(), &'static str>) -> Check {
    let purpose = "idle and irq entry, with --watchpoints";
    let tried = facts.no_watchpoint().map_or_else(|| open().map_err(str::to_owned), |no| Err(no.to_string()));
    let found = match tried {
        Ok(()) => check(GROUP, "watchpoint", CheckState::Ok, purpose),
        Err(why) => check(GROUP, "watchpoint", CheckState::Lacking, format!("{purpose}: {why}")),
    };
    // kernel/events/hw_breakpoint.c:hw_breakpoint_parse asks for CAP_SYS_ADMIN on kernel addresses.
    let needs = [Capability::Bpf, Capability::Perfmon, Capability::SysAdmin];
    let found = if found.state == CheckState::Ok && !facts.privileges.has(Capability::SysAdmin) {
        Check {
            remedy: Some("run as root, or with CAP_SYS_ADMIN".to_owned()),
            ..check(GROUP, "watchpoint", CheckState::Lacking, format!("{purpose}: CAP_SYS_ADMIN is missing"))
        }
    } else {
        found
    };
    Check { needs: names(facts, &needs), ..found }
}

/// Where the kernel is older than the split of CAP_SYS_ADMIN, it is CAP_SYS_ADMIN for all.
/// Split in: 2c78ee898d8f ("bpf: Implement CAP_BPF").
fn names(facts: &Facts, needs: &[Capability]) -> Vec<String> {
    if facts.privileges.are_split() || needs.is_empty() {
        needs.iter().map(|capability| capability.name().to_owned()).collect()
    } else {
        vec![Capability::SysAdmin.name().to_owned()]
    }
}
