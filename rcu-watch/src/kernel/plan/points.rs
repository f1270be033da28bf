//! The table of probe points: the only place that names what to attach to.
//!
//! A point has candidates in order; `select` takes the first that this kernel allows. Lists of functions
//! hold every kernel's names: those that a kernel does not have, or does not let anybody hook, drop out
//! there with their reason.

use rcu_watch_core::probe::Point;

use crate::kernel::plan::transition;

/// What a probe can sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Tracepoint(&'static str),
    Function(&'static str),
}

/// A point that every kernel has, with what can show it, the best first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointCandidates {
    pub point: Point,
    pub candidates: &'static [On],
}

/// Points of the running kernel itself; those of functions with handlers come from attribution.
pub(crate) const ROWS: &[PointCandidates] = &[
    PointCandidates { point: Point::Checkpoint, candidates: &[On::Tracepoint("sched_switch")] },
    PointCandidates { point: Point::NmiEnter, candidates: &[On::Tracepoint("nmi_handler")] },
    // The last point before and the first after idle's EQS that runs watched, on every kernel.
    // rcu_idle_enter and rcu_idle_exit are traceable up to 5.19.
    PointCandidates {
        point: Point::EqsEnter,
        candidates: &[On::Tracepoint("cpu_idle"), On::Function("rcu_idle_enter")],
    },
    PointCandidates {
        point: Point::EqsExit,
        candidates: &[On::Tracepoint("cpu_idle"), On::Function("rcu_idle_exit")],
    },
    // Once for each livepatch that was enabled or disabled to its end; sysfs says which.
    PointCandidates { point: Point::KlpTransition, candidates: &[On::Function("klp_complete_transition")] },
];

/// Functions that run with RCU off on some kernel that lets everybody hook them; noinstr since 6.3, where
/// 2b5a0e425e6e ("objtool/idle: Validate __cpuidle code as noinstr") made it so.
pub(crate) const IDLE_VICTIMS: &[&str] = &[
    "arch_cpu_idle",
    "default_idle",
    "amd_e400_idle",
    "mwait_idle",
    "intel_idle",
    "intel_idle_ibrs",
    "intel_idle_irq",
    "intel_idle_xstate",
    "intel_idle_s2idle",
    "acpi_idle_enter",
    "acpi_idle_do_entry",
    "acpi_processor_ffh_cstate_enter",
    "poll_idle",
    "cpuidle_poll_time",
    "default_enter_idle",
    "spec_ctrl_current",
];

/// The first functions behind NMI and exception entry that can be hooked, by programs made for them. The handler
/// of #DB comes last: watchpoints raise #DB, and go without it.
pub(crate) const ENTRY: &[(Point, &str)] = &[
    (Point::NmiEnter, "perf_event_nmi_handler"),
    (Point::NmiEnter, "nmi_cpu_backtrace_handler"),
    (Point::IstEnter, "kprobe_int3_handler"),
    (Point::IstEnter, DEBUG_HANDLER),
];
pub(crate) const DEBUG_HANDLER: &str = "hw_breakpoint_exceptions_notify";

/// Functions that run on a CPU that RCU takes for offline: on the way down after
/// kernel/cpu.c:cpuhp_report_idle_dead, and on the way up before rcu_cpu_starting.
pub(crate) const OFFLINE: &[&str] = &[
    "arch_cpu_idle_dead",
    "native_play_dead",
    "play_dead_common",
    "hlt_play_dead",
    "mwait_play_dead",
    "cpuidle_play_dead",
    "acpi_idle_play_dead",
    "load_ucode_ap",
    "cpuhp_ap_sync_alive",
    "fpu__init_cpu",
];

/// Functions whose job is to run while RCU is not watching, but for those that tell it of irqs and NMIs
/// ([`transition::TRANSITIONS`]).
pub(crate) const RCU_INTERNAL: &[&str] = &["rcu_idle_exit"];

/// Functions that probes themselves use, or that nest in everything: a probe there could call itself.
const HANDS_OFF: &[&str] = &[
    "notifier_call_chain",
    "atomic_notifier_call_chain",
    "sched_clock",
    "native_sched_clock",
    "sched_clock_cpu",
    "local_clock",
    "ktime_get",
    "ktime_get_mono_fast_ns",
    "trace_call_bpf",
    "copy_from_kernel_nofault",
    "kernel_text_address",
    // What reads the clock for all of them: one of these, by the clock source.
    "read_hpet",
    "read_tsc",
    "acpi_pm_read",
    "jiffies_read",
    "kvm_clock_read",
    "kvm_clock_get_cycles",
    "pvclock_clocksource_read",
    "pvclock_clocksource_read_nowd",
    "xen_clocksource_read",
    "xen_clocksource_get_cycles",
    "read_hv_clock_msr",
    "read_hv_clock_tsc",
    "read_hv_clock_tsc_cs",
];
const HANDS_OFF_PREFIXES: &[&str] =
    &["perf_", "__perf_", "bpf_ringbuf_", "bpf_probe_read", "__bpf_prog_", "bpf_get_", "_raw_spin_"];

const NOINSTR: &str = "noinstr entry code, where neither a kprobe nor fentry can sit";

/// Points that no probe of this version sits on, and why.
pub(crate) const NOT_WATCHED: &[(Point, &str)] = &[(Point::IrqEnter, NOINSTR), (Point::IrqExit, NOINSTR)];

/// Whether the function runs with RCU off on the kernels that let it be hooked.
#[must_use]
pub(crate) fn runs_in_eqs(function: &str) -> bool {
    IDLE_VICTIMS.contains(&function) || is_rcu_internal(function)
}

#[must_use]
pub(crate) fn is_rcu_internal(function: &str) -> bool {
    RCU_INTERNAL.contains(&function) || transition::is_way_in(function)
}

/// Whether rcu-watch keeps away from a function whoever else is on it.
#[must_use]
pub(crate) fn is_hands_off(function: &str) -> bool {
    let has_own_program = ENTRY.iter().any(|&(_, name)| name == function);
    !has_own_program
        && (HANDS_OFF.contains(&function)
            || HANDS_OFF_PREFIXES.iter().any(|prefix| function.starts_with(prefix)))
}

/// Whether the point is about a function that somebody's handlers are on.
#[must_use]
pub(crate) const fn is_of_handlers(point: Point) -> bool {
    matches!(point, Point::PatchedFunction | Point::FtraceFunction)
}

/// Every function that the table names.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    let of_rows = ROWS.iter().flat_map(|row| row.candidates).filter_map(|on| match on {
        On::Function(name) => Some(*name),
        On::Tracepoint(_) => None,
    });
    let lists = IDLE_VICTIMS.iter().chain(RCU_INTERNAL).chain(OFFLINE).copied();
    of_rows
        .chain(lists)
        .chain(ENTRY.iter().map(|&(_, name)| name))
        .chain(transition::TRANSITIONS.iter().map(|one| one.function))
}

/// Every tracepoint that the table names.
pub(crate) fn tracepoints() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|row| row.candidates).filter_map(|on| match on {
        On::Tracepoint(name) => Some(*name),
        On::Function(_) => None,
    })
}
