//! What the loader tells the programs before they are verified: read-only globals.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that one probe_read takes to have S, N and M together.
pub const STATE_BLOCK_BYTES: usize = 24;

/// Where this kernel keeps a CPU's RCU state, and what "at rest" looks like there.
///
/// Addresses are per-CPU symbol values: a CPU's own copy is at `symbol + __per_cpu_offset[cpu]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StateLayout {
    /// Address of the kernel's `__per_cpu_offset` array.
    pub per_cpu_offset: u64,
    /// Per-CPU address of the block of [`STATE_BLOCK_BYTES`] that holds S, N and M.
    pub block: u64,
    /// Per-CPU address of `preempt_count`.
    pub preempt_count: u64,
    /// NMI bits of P.
    pub nmi_mask: u64,
    /// HARDIRQ bits of P.
    pub hardirq_mask: u64,
    /// Offsets within the block.
    pub state_offset: u32,
    pub nesting_offset: u32,
    pub nmi_nesting_offset: u32,
    /// Bits of S that must equal `rest_state` when RCU watches and the context is the kernel.
    pub rest_mask: u32,
    pub rest_state: u32,
    /// 4 or 8.
    pub preempt_count_bytes: u32,
    /// Per-CPU address of `rcu_data`; 0: whether RCU takes a CPU for online is not known.
    pub rcu_data: u64,
    /// Within `rcu_data`.
    pub grpmask_offset: u32,
    pub mynode_offset: u32,
    /// Within `rcu_node`.
    pub qsmaskinitnext_offset: u32,
    pub padding: u32,
}

/// The values of a [`StateLayout`] on kernels since 6.0, which the programs know as they are compiled.
pub mod usual {
    pub const STATE_OFFSET: usize = 0;
    pub const NESTING_OFFSET: usize = 8;
    pub const NMI_NESTING_OFFSET: usize = 16;
    pub const REST_MASK: u32 = 7;
    pub const REST_STATE: u32 = 4;
}

impl StateLayout {
    /// Whether it is the [`usual`] one, which the programs know without being told.
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        self.state_offset as usize == usual::STATE_OFFSET
            && self.nesting_offset as usize == usual::NESTING_OFFSET
            && self.nmi_nesting_offset as usize == usual::NMI_NESTING_OFFSET
            && self.rest_mask == usual::REST_MASK
            && self.rest_state == usual::REST_STATE
    }
}

/// What is to be done with hits. Set while programs run.
pub mod mode {
    /// Send those that are not at rest, count the others; the layout is the [`usual`](super::usual) one.
    pub const QUIET_USUAL: u32 = 0;
    /// The same, on another layout.
    pub const QUIET: u32 = 1;
    /// Send all.
    pub const ALL: u32 = 2;
    /// Neither send nor count. Before anything else.
    pub const STOPPED: u32 = 3;
}

/// How the programs send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StreamConfig {
    /// Unread bytes in the ring buffer from which on records wake the reader, and again after as many more. A power of two.
    pub wake_bytes: u64,
}

/// In a question for a [`CalibrationSample`]: of whichever CPU answers.
pub const ANY_CPU: u32 = u32::MAX;

/// One CPU's words as the calibration programs read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CalibrationSample {
    pub nesting: u64,
    pub nmi_nesting: u64,
    pub preempt_count: u64,
    /// `__per_cpu_offset[cpu]`.
    pub cpu_offset: u64,
    pub state: u32,
    /// The CPU that was read.
    pub cpu: u32,
    /// How often this sample was taken; 0: never, the words mean nothing.
    pub count: u32,
    /// Thread id of the task that was current on the reading CPU.
    pub pid: u32,
}
