//! What the rules know of a probe: where it sits, how it got there, and who else is on that function.

use serde::Serialize;

/// What a probe is there to see, whatever mechanism carries it (DESIGN, attach mechanisms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    EqsEnter,
    EqsExit,
    IrqEnter,
    IrqExit,
    NmiEnter,
    IstEnter,
    PatchedFunction,
    KlpTransition,
    FtraceFunction,
    IdleVictim,
    Checkpoint,
    CpuOffline,
}

/// How a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    Fentry,
    /// On an ftrace site: runs in the context of the function itself.
    KprobeFtrace,
    /// Anywhere else: through int3, or a jump once the kernel has optimised it.
    KprobeInt3,
    RawTracepoint,
    Watchpoint,
    PerfEvent,
}

/// Whose handler it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerKind {
    Livepatch,
    FtraceOps,
    Kprobe,
    Bpf,
}

/// Whether a handler needs RCU to watch while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reliance {
    /// It uses RCU, or nothing shows that it does not.
    Relies,
    /// It looks first and skips when RCU is not watching (the stack tracer).
    GuardsItself,
    /// It uses no RCU of its own (the function and function_graph tracers).
    DoesNotRely,
    /// It runs from int3 or #DB, whose entry made RCU watch.
    EntryCounted,
}

/// A handler on a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Handler {
    pub kind: HandlerKind,
    /// The livepatch's module, the ftrace ops' callback, the BPF program's name, or the kprobe's address.
    pub name: String,
    pub reliance: Reliance,
    /// One of our own programs, this instance's or another's.
    pub ours: bool,
}

/// One probe of the running plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    pub point: Point,
    pub mechanism: Mechanism,
    /// The function or tracepoint that it is on.
    pub symbol: String,
    /// Handlers on that function, ours left out.
    pub handlers: Vec<Handler>,
    /// The function's job is to run while RCU is not watching (`rcu_idle_exit`, `ct_irq_enter_irqson`).
    pub is_rcu_internal: bool,
    /// Its kernel's ftrace refuses handlers while RCU is off ("RCU not on for:").
    pub ftrace_validates_rcu: bool,
}
