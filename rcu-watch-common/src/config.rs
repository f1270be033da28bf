//! What the loader tells the programs before they are verified: read-only globals.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that one probe_read takes to have S, N and M together.
pub const STATE_BLOCK_BYTES: usize = 32;

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

/// How the programs send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StreamConfig {
    /// Unsent bytes in the ring buffer from which on a record wakes the reader.
    pub wake_bytes: u64,
    /// Not 0: send every snapshot, also those at rest.
    pub emit_at_rest: u32,
    pub padding: u32,
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

/// What a program knows of the CPU that it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuState {
    /// `__per_cpu_offset[cpu]`; 0 until a program read it.
    pub offset: u64,
    /// Not 0: this CPU is not watched, its hits are not counted.
    pub unwatched: u32,
    /// [`crate::record::SnapshotRecord::track_seq`] of the run before.
    pub track_seq: u32,
    /// Address of the `rcu_node.qsmaskinitnext` that this CPU has a bit in; 0 until a program read it.
    pub online_word: u64,
    /// That bit: `rcu_data.grpmask`.
    pub online_bit: u64,
}
