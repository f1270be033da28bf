//! What one probe hit sends: a snapshot of the CPU that it ran on, with or without a kernel stack.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of every record below. A reader refuses records of another version.
pub const WIRE_VERSION: u16 = 1;

/// Frames that a [`StackRecord`] holds at most.
pub const STACK_FRAMES_MAX: usize = 32;

/// Values of [`RecordHeader::kind`].
pub mod kind {
    /// A [`super::SnapshotRecord`].
    pub const SNAPSHOT: u16 = 1;
    /// A [`super::StackRecord`].
    pub const SNAPSHOT_WITH_STACK: u16 = 2;
}

/// Bits of [`SnapshotRecord::flags`].
pub mod flag {
    /// `ip`, `sp` and `rflags` come from the registers of the interrupted or probed code.
    pub const HAS_REGS: u32 = 1 << 0;
    /// The registers are those of user mode.
    pub const USER_REGS: u32 = 1 << 1;
    /// `caller` is a return address read from the stack.
    pub const HAS_CALLER: u32 = 1 << 2;
    /// Sent by `--self-test`: not an observation.
    pub const SYNTHETIC: u32 = 1 << 3;
    // Bit 4 is set in older recordings, and says nothing that the words do not.
    /// The probe looked whether RCU takes this CPU for online; [`RCU_ONLINE`] is what it saw.
    pub const HAS_RCU_ONLINE: u32 = 1 << 5;
    pub const RCU_ONLINE: u32 = 1 << 6;
}

/// First bytes of every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    /// One of [`kind`].
    pub kind: u16,
    /// [`WIRE_VERSION`].
    pub version: u16,
    /// Length of the whole record, this header included.
    pub len_bytes: u32,
}

/// The state of one CPU, read by a probe on that CPU.
///
/// S, N and M come from one read; a snapshot whose S had moved by the end of that read is never sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SnapshotRecord {
    pub header: RecordHeader,
    /// `bpf_ktime_get_ns`: `CLOCK_MONOTONIC`.
    pub ts_ns: u64,
    /// Number of this record among all that this probe emitted on this CPU, from 0; lost ones keep their number.
    pub probe_seq: u64,
    /// N, sign-extended.
    pub nesting: u64,
    /// M, sign-extended.
    pub nmi_nesting: u64,
    /// P as the kernel holds it, 32 or 64 bits wide.
    pub preempt_count: u64,
    /// S.
    pub state: u32,
    /// Index of the probe in the attach plan.
    pub probe: u32,
    pub cpu: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Thread id of the current task, 0 for the idle task.
    pub pid: u32,
    pub tgid: u32,
    pub ip: u64,
    pub caller: u64,
    /// Nothing above bit 21 is defined.
    pub rflags: u32,
    /// Number of this run among all runs, on this CPU, of the probes that tell where the CPU is (context switch,
    /// idle, watchpoint), from 1: also those that sent nothing. 0: a run of another probe, or of an older build.
    pub track_seq: u32,
    pub sp: u64,
    /// What the probe point defines: the C-state of `cpu_idle`, else 0.
    pub arg: u64,
    pub comm: [u8; 16],
}

/// Records that [`KeptRecords`] holds at most. Several in a row are rare: the next run finds the lock free.
pub const KEPT_MAX: usize = 8;

/// What one CPU could not send when it happened, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KeptRecords {
    /// Index of the first that was not sent since.
    pub first: u32,
    /// Index behind the last.
    pub end: u32,
    pub records: [SnapshotRecord; KEPT_MAX],
}

/// A snapshot with the kernel stack below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    pub snapshot: SnapshotRecord,
    /// Bytes of `frames` that are valid; negative: the error of `bpf_get_stack`.
    pub frames_len_bytes: i64,
    pub frames: [u64; STACK_FRAMES_MAX],
}
