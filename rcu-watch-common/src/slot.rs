//! The probe ids: each program is compiled with its own, so that a hit needs no look-up to know whose it is.

/// Raw tracepoint `sched_switch`.
pub const CHECKPOINT: u32 = 0;
/// Raw tracepoint `cpu_idle`, on the way in.
pub const EQS_ENTER: u32 = 1;
/// Raw tracepoint `cpu_idle`, on the way out.
pub const EQS_EXIT: u32 = 2;
/// Raw tracepoint `nmi_handler`.
pub const NMI: u32 = 3;
/// The program that `--self-test` runs.
pub const SELF_TEST: u32 = 4;

/// The watchpoint on S.
pub const WATCH_STATE: u32 = 5;

/// fentry `perf_event_nmi_handler`.
pub const NMI_PERF: u32 = 6;
/// fentry `nmi_cpu_backtrace_handler`.
pub const NMI_BACKTRACE: u32 = 7;
/// fentry `kprobe_int3_handler`.
pub const BREAKPOINT: u32 = 8;
/// fentry `hw_breakpoint_exceptions_notify`.
pub const DEBUG: u32 = 9;

/// First of the fentry programs for functions.
pub const FENTRY: u32 = 16;
/// How many functions can be watched by fentry at a time.
pub const FENTRY_COUNT: u32 = 64;
/// First of the kprobe programs for functions.
pub const KPROBE: u32 = FENTRY + FENTRY_COUNT;
/// How many functions can be watched by kprobe at a time.
pub const KPROBE_COUNT: u32 = 64;

/// First of the fexit programs for functions.
pub const FEXIT: u32 = KPROBE + KPROBE_COUNT;
/// How many functions' ends can be watched by fexit at a time.
pub const FEXIT_COUNT: u32 = 8;
/// First of the kretprobe programs for functions.
pub const KRETPROBE: u32 = FEXIT + FEXIT_COUNT;
/// How many functions' ends can be watched by kretprobe at a time.
pub const KRETPROBE_COUNT: u32 = 8;

/// Bound of every probe id.
pub const COUNT: u32 = KRETPROBE + KRETPROBE_COUNT;
