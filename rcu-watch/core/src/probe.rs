//! What the rules know of a probe: where it sits, how it got there, and who else is on that function.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::snapshot::Snapshot;

/// What a probe is there to see, whatever mechanism carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Point {
    EqsEnter,
    EqsExit,
    IrqEnter,
    IrqExit,
    NmiEnter,
    NmiExit,
    IstEnter,
    IstExit,
    PatchedFunction,
    KlpTransition,
    FtraceFunction,
    IdleVictim,
    Checkpoint,
    CpuOffline,
}

impl Point {
    /// Every point, in the order in which plans list them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// As it is written in the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// How a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Mechanism {
    Fentry,
    /// At the function's end.
    Fexit,
    /// On an ftrace site: runs in the context of the function itself.
    KprobeFtrace,
    /// Anywhere else: through int3, or a jump once the kernel has optimised it.
    KprobeInt3,
    /// At the function's end.
    Kretprobe,
    RawTracepoint,
    Watchpoint,
}

impl Mechanism {
    /// As it is written in the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// Whose handler it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HandlerKind {
    Livepatch,
    FtraceOps,
    Kprobe,
    Bpf,
}

impl HandlerKind {
    /// As it is written in the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// Whether a handler needs RCU to watch while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reliance {
    /// It uses RCU, or nothing shows that it does not.
    Relies,
    /// It looks first and skips when RCU is not watching (the stack tracer, perf's ftrace ops).
    GuardsItself,
    /// It uses no RCU of its own (the function and function_graph tracers).
    DoesNotRely,
    /// It runs from int3 or #DB, whose entry made RCU watch.
    EntryCounted,
    /// The kernel does not call it while RCU is not watching (fprobe since e0a624919040).
    SkippedByKernel,
}

/// A handler on a function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Handler {
    pub kind: HandlerKind,
    /// The livepatch's module, the ftrace ops' callback, the BPF program's name, or the kprobe's address.
    pub name: String,
    /// Id of the BPF program, as `bpftool prog` has it; absent for other kinds, and where no kernel interface tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<u32>,
    pub reliance: Reliance,
    /// One of our own programs, this instance's or another's.
    pub ours: bool,
}

/// One probe of the running plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

impl Probe {
    /// Whether the registers of this hit are those of code that an NMI interrupted: fentry has none of its own, and the
    /// programs on NMI handlers take those that the handler was given.
    #[must_use]
    pub fn is_sample(&self, snapshot: &Snapshot<'_>) -> bool {
        self.mechanism == Mechanism::Fentry && self.point == Point::NmiEnter && snapshot.regs.is_some()
    }
}
