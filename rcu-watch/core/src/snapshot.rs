//! A decoded snapshot: what one probe hit saw of the CPU that it ran on.

use core::num::NonZeroU32;

use crate::units::{Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

/// Registers of the probed or interrupted code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    /// Where the code was.
    pub ip: Address,
    /// Where its stack was.
    pub sp: Address,
    /// RFLAGS, of which nothing above bit 21 is kept.
    pub rflags: u64,
    /// It was user code.
    pub user_mode: bool,
}

/// The task that was current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its thread id, 0 for an idle task.
    pub pid: u32,
    /// Its process's id.
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
    /// S: RCU's state word, which holds the watching bit.
    pub state: StateWord,
    /// N: tasks, and up to 4.15 irqs.
    pub nesting: Counter,
    /// M: irqs and NMIs, up to 4.15 NMIs only.
    pub nmi_nesting: Counter,
    /// P: `preempt_count`, which does not depend on RCU.
    pub preempt_count: PreemptCount,
}

/// One probe hit. It owns nothing: its stack is borrowed from the record that it was decoded from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot<'record> {
    /// The CPU that it was taken on.
    pub cpu: CpuId,
    /// The probe that took it.
    pub probe: ProbeId,
    /// Number among all that this probe emitted on this CPU; lost ones keep their number.
    pub probe_seq: u64,
    /// When it was taken, `CLOCK_MONOTONIC`.
    pub ts: Nanos,
    /// What RCU had noted of the CPU.
    pub rcu: RcuState,
    /// The task that was current.
    pub task: Task,
    /// Registers of the code that was probed or interrupted; `None` where the probe's mechanism has none.
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
