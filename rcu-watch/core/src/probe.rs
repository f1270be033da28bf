//! What the rules know of a probe: where it sits, how it got there, and who else is on that function.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::snapshot::Snapshot;

/// What a probe is there to see, whatever mechanism carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Point {
    /// A CPU goes idle: the last code that RCU still watches, or the tracepoint of it.
    EqsEnter,
    /// A CPU comes back from idle.
    EqsExit,
    /// RCU is told of an irq.
    IrqEnter,
    /// RCU is told that an irq ends.
    IrqExit,
    /// RCU is told of an NMI, or an NMI's handler runs.
    NmiEnter,
    /// RCU is told that an NMI ends.
    NmiExit,
    /// An exception of the NMI's kind begins (#BP, #DB, #MC).
    IstEnter,
    /// Such an exception ends.
    IstExit,
    /// A function that a livepatch replaces.
    PatchedFunction,
    /// The kernel completes the transition of a livepatch: every task has moved.
    KlpTransition,
    /// A function with somebody else's ftrace handler, kprobe or BPF program.
    FtraceFunction,
    /// A function that kernels are known to run with RCU off although it can be hooked.
    IdleVictim,
    /// A context switch, where every word must be at rest.
    Checkpoint,
    /// A CPU that is going offline runs its last code.
    CpuOffline,
}

impl Point {
    /// Every point, in the order in which plans list them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Mechanism {
    /// A BPF trampoline at the function's entry.
    Fentry,
    /// At the function's end.
    Fexit,
    /// On an ftrace site: runs in the context of the function itself.
    KprobeFtrace,
    /// Anywhere else: through int3, or a jump once the kernel has optimised it.
    KprobeInt3,
    /// At the function's end.
    Kretprobe,
    /// A BPF program on a tracepoint, with the tracepoint's own arguments.
    RawTracepoint,
    /// A hardware breakpoint on S: its #DB comes right after each write.
    Watchpoint,
}

impl Mechanism {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Whose handler it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HandlerKind {
    /// A livepatch, which runs another body instead of the function's.
    Livepatch,
    /// An ftrace callback that is none of the other kinds.
    FtraceOps,
    /// A kprobe or kretprobe, however the kernel placed it.
    Kprobe,
    /// A BPF program on a trampoline.
    Bpf,
}

impl HandlerKind {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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
    /// What sort of handler it is.
    pub kind: HandlerKind,
    /// The livepatch's module, the ftrace ops' callback, the BPF program's name, or the kprobe's address.
    pub name: String,
    /// The probe event that a kprobe is of, as `group/event`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Id of the BPF program, as `bpftool prog` has it; absent for other kinds, and where no kernel interface tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<u32>,
    /// Whether it needs RCU to watch.
    pub reliance: Reliance,
    /// One of our own programs, this instance's or another's.
    pub ours: bool,
    /// Who holds it; absent where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// Who holds a handler: with the owner it goes away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Owner {
    /// A process, by a descriptor that it has open.
    Process {
        /// Its process id, as this host counts them.
        pid: u32,
        /// Its name, at most 15 bytes.
        comm: String,
        /// The last part of its cgroup's path: `session-3.scope`, `foo.service`; long ids are cut to 12 digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cgroup: Option<String>,
        /// The first 12 digits of the id of the container that it runs in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        /// How many more processes hold it too.
        #[serde(default, skip_serializing_if = "is_zero")]
        others: u32,
    },
    /// Nobody has it open: it is pinned in a BPF file system.
    Pinned {
        /// Where; absent where no file system that this process sees has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// A kernel module, a livepatch's among them.
    Module {
        /// As /proc/modules names it.
        name: String,
    },
    /// A tracefs instance, whoever set it up.
    Instance {
        /// Its directory in `instances`; absent for the top one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A setting of the kernel.
    Setting {
        /// As sysctl names it.
        name: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `bpftrace[4711] (session-3.scope)`, `pinned at /sys/fs/bpf/x`, `module demo`, `tracefs instance foo`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, comm, cgroup, others, .. } => {
                write!(f, "{comm}[{pid}]")?;
                if let Some(cgroup) = cgroup {
                    write!(f, " ({cgroup})")?;
                }
                if *others > 0 {
                    write!(f, " and {others} more")?;
                }
                Ok(())
            }
            Self::Pinned { path: Some(path) } => write!(f, "pinned at {path}"),
            Self::Pinned { path: None } => f.write_str("nobody has it open: pinned"),
            Self::Module { name } => write!(f, "module {name}"),
            Self::Instance { name: Some(name) } => write!(f, "tracefs instance {name}"),
            Self::Instance { name: None } => f.write_str("tracefs"),
            Self::Setting { name } => write!(f, "sysctl {name}"),
        }
    }
}

/// One probe of the running plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Probe {
    /// What it is there to see.
    pub point: Point,
    /// How it is attached.
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
