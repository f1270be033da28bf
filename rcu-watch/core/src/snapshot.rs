//! A decoded snapshot: what one probe hit saw of the CPU that it ran on.

use core::num::NonZeroU32;

use crate::units::{Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

/// Registers of the probed or interrupted code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    pub ip: Address,
    pub sp: Address,
    pub rflags: u64,
    pub user_mode: bool,
}

/// The task that was current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    pub pid: u32,
    pub tgid: u32,
    /// NUL-padded, as the kernel holds it.
    pub comm: [u8; 16],
}

impl Task {
    /// Whether this is a CPU's idle task.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.pid == 0
    }
}

/// The four words that every rule starts from: S, N, M and P (docs/kernel.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcuState {
    pub state: StateWord,
    pub nesting: Counter,
    pub nmi_nesting: Counter,
    pub preempt_count: PreemptCount,
}

/// One probe hit. It owns nothing: its stack is borrowed from the record that it was decoded from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot<'record> {
    pub cpu: CpuId,
    pub probe: ProbeId,
    /// Number among all that this probe emitted on this CPU; lost ones keep their number.
    pub probe_seq: u64,
    pub ts: Nanos,
    pub rcu: RcuState,
    pub task: Task,
    pub regs: Option<Regs>,
    /// For a function probe: the return address of the probed function.
    pub caller: Option<Address>,
    /// Whether RCU takes this CPU for online; `None` where the probe does not look.
    pub rcu_online: Option<bool>,
    /// What the probe point defines (`cpu_idle`: the C-state), else 0.
    pub arg: u64,
    /// Number of this run among all of the probes that tell where this CPU is, also of those that sent nothing;
    /// `None` for other probes, and in recordings of older builds.
    pub track_seq: Option<NonZeroU32>,
    /// Sent by `--self-test`.
    pub synthetic: bool,
    /// Return addresses, innermost first; little-endian `u64`s as they came from the kernel. Empty where none was taken.
    pub stack: &'record [u8],
}
