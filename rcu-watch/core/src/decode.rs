//! From the bytes of one record to a [`Snapshot`].
//!
//! Total: any bytes give a snapshot or a typed error, never a panic. Nothing is
//! allocated: the record's integers are copied, since the bytes may lie at any address, and the stack stays where it is.

use alloc::vec::Vec;
use core::mem::{offset_of, size_of};
use core::num::NonZeroU32;

use rcu_watch_common::record::{
    RecordHeader, STACK_FRAMES_MAX, SnapshotRecord, StackRecord, WIRE_VERSION, flag, kind,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::snapshot::{RcuState, Regs, Snapshot, Task};
use super::units::{Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

/// CPUs that a kernel can be built for (`NR_CPUS` of x86-64 with MAXSMP).
pub const CPUS_MAX: u32 = 8192;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the record does.
    #[error("record is {have} bytes long where {need} are needed; the stream is cut short or corrupt")]
    Short {
        /// Bytes that a record of this kind takes.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The record's own length is beyond the bytes that there are.
    #[error("record says it is {said} bytes long and is {have}; the stream is corrupt")]
    Length {
        /// Bytes, by the record's header.
        said: u32,
        /// Bytes that there are.
        have: usize,
    },
    #[error(
        "record is of version {0}, this build reads version {WIRE_VERSION}; use the rcu-watch that wrote it"
    )]
    /// The record's layout is of this other version.
    OtherVersion(u16),
    /// The header names a kind of record that this version does not have.
    #[error("record is of unknown kind {0}; the stream is corrupt")]
    UnknownKind(u16),
    #[error(
        "record is of probe {probe}, the plan has {planned}; the plan is not the one it was recorded with"
    )]
    /// No probe of the plan has this number.
    ProbeOutOfRange {
        /// The number in the record.
        probe: u32,
        /// Numbers that the plan has, from 0.
        planned: u32,
    },
    /// The record's CPU is not below [`CPUS_MAX`].
    #[error("record is of CPU {0}, beyond any kernel's {CPUS_MAX}; the stream is corrupt")]
    CpuOutOfRange(u32),
    /// The length of the stack, in bytes, is no multiple of a frame's, beyond the record or longer than any stack.
    #[error("record says it holds {0} bytes of stack, which is no number of frames; the stream is corrupt")]
    Stack(i64),
}

/// Decodes one record of a plan with `probes` probes. Bytes after the record are ignored.
///
/// # Errors
/// Where the bytes are no record of this version, or name a probe or CPU that cannot be.
pub fn decode(bytes: &[u8], probes: u32) -> Result<Snapshot<'_>, DecodeError> {
    let (header, _) = RecordHeader::read_from_prefix(bytes)
        .map_err(|_| DecodeError::Short { need: size_of::<RecordHeader>(), have: bytes.len() })?;
    if header.version != WIRE_VERSION {
        return Err(DecodeError::OtherVersion(header.version));
    }
    let said = header.len_bytes;
    let body = usize::try_from(said)
        .ok()
        .and_then(|len| bytes.get(..len))
        .ok_or(DecodeError::Length { said, have: bytes.len() })?;
    let (record, rest) = SnapshotRecord::read_from_prefix(body)
        .map_err(|_| DecodeError::Short { need: size_of::<SnapshotRecord>(), have: body.len() })?;
    let stack = match header.kind {
        kind::SNAPSHOT => &[],
        kind::SNAPSHOT_WITH_STACK => stack_of(rest)?,
        other => return Err(DecodeError::UnknownKind(other)),
    };
    snapshot_of(&record, stack, probes)
}

/// The valid frames of a [`StackRecord`], from what follows its snapshot: that may end with them. None where the kernel
/// could not take the stack.
fn stack_of(rest: &[u8]) -> Result<&[u8], DecodeError> {
    let (len, frames) = i64::read_from_prefix(rest).map_err(|_| DecodeError::Short {
        need: offset_of!(StackRecord, frames),
        have: size_of::<SnapshotRecord>() + rest.len(),
    })?;
    if len < 0 {
        return Ok(&[]);
    }
    usize::try_from(len)
        .ok()
        .filter(|len| len % size_of::<u64>() == 0 && *len <= STACK_FRAMES_MAX * size_of::<u64>())
        .and_then(|len| frames.get(..len))
        .ok_or(DecodeError::Stack(len))
}

fn snapshot_of<'record>(
    record: &SnapshotRecord,
    stack: &'record [u8],
    probes: u32,
) -> Result<Snapshot<'record>, DecodeError> {
    let &SnapshotRecord { probe, cpu, flags, .. } = record;
    if probe >= probes {
        return Err(DecodeError::ProbeOutOfRange { probe, planned: probes });
    }
    if cpu >= CPUS_MAX {
        return Err(DecodeError::CpuOutOfRange(cpu));
    }
    Ok(Snapshot {
        cpu: CpuId(cpu),
        probe: ProbeId(probe),
        probe_seq: record.probe_seq,
        ts: Nanos(record.ts_ns),
        rcu: RcuState {
            state: StateWord(record.state),
            nesting: Counter(record.nesting.cast_signed()),
            nmi_nesting: Counter(record.nmi_nesting.cast_signed()),
            preempt_count: PreemptCount(record.preempt_count),
        },
        task: Task { pid: record.pid, tgid: record.tgid, comm: record.comm },
        regs: (flags & flag::HAS_REGS != 0).then(|| Regs {
            ip: Address(record.ip),
            sp: Address(record.sp),
            rflags: u64::from(record.rflags),
            user_mode: flags & flag::USER_REGS != 0,
        }),
        caller: (flags & flag::HAS_CALLER != 0).then_some(Address(record.caller)),
        rcu_online: (flags & flag::HAS_RCU_ONLINE != 0).then_some(flags & flag::RCU_ONLINE != 0),
        arg: record.arg,
        track_seq: NonZeroU32::new(record.track_seq),
        synthetic: flags & flag::SYNTHETIC != 0,
        stack,
    })
}

/// A record as the BPF side writes it, for tests and for replayed or synthetic streams.
#[must_use]
pub fn encode(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let stacked = !snapshot.stack.is_empty();
    let len = if stacked {
        offset_of!(StackRecord, frames) + snapshot.stack.len()
    } else {
        size_of::<SnapshotRecord>()
    };
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(record_of(snapshot, stacked, len).as_bytes());
    if stacked {
        bytes.extend_from_slice((snapshot.stack.len() as u64).as_bytes());
        bytes.extend_from_slice(snapshot.stack);
    }
    bytes
}

fn record_of(snapshot: &Snapshot<'_>, stacked: bool, len: usize) -> SnapshotRecord {
    let mut flags = 0;
    if let Some(regs) = &snapshot.regs {
        flags |= flag::HAS_REGS | if regs.user_mode { flag::USER_REGS } else { 0 };
    }
    if snapshot.caller.is_some() {
        flags |= flag::HAS_CALLER;
    }
    if let Some(online) = snapshot.rcu_online {
        flags |= flag::HAS_RCU_ONLINE | if online { flag::RCU_ONLINE } else { 0 };
    }
    if snapshot.synthetic {
        flags |= flag::SYNTHETIC;
    }
    let regs = snapshot.regs.unwrap_or_default();
    SnapshotRecord {
        header: RecordHeader {
            kind: if stacked { kind::SNAPSHOT_WITH_STACK } else { kind::SNAPSHOT },
            version: WIRE_VERSION,
            len_bytes: u32::try_from(len).unwrap_or(u32::MAX),
        },
        ts_ns: snapshot.ts.0,
        probe_seq: snapshot.probe_seq,
        nesting: snapshot.rcu.nesting.0.cast_unsigned(),
        nmi_nesting: snapshot.rcu.nmi_nesting.0.cast_unsigned(),
        preempt_count: snapshot.rcu.preempt_count.0,
        state: snapshot.rcu.state.0,
        probe: snapshot.probe.0,
        cpu: snapshot.cpu.0,
        flags,
        pid: snapshot.task.pid,
        tgid: snapshot.task.tgid,
        ip: regs.ip.0,
        caller: snapshot.caller.map_or(0, |caller| caller.0),
        rflags: regs.rflags as u32,
        track_seq: snapshot.track_seq.map_or(0, NonZeroU32::get),
        sp: regs.sp.0,
        arg: snapshot.arg,
        comm: snapshot.task.comm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];

    fn full() -> Snapshot<'static> {
        Snapshot {
            cpu: CpuId(3),
            probe: ProbeId(1),
            probe_seq: 99,
            ts: Nanos(u64::MAX - 1),
            rcu: RcuState {
                state: StateWord(0xffff_fff5),
                nesting: Counter(-1),
                nmi_nesting: Counter(1 << 62),
                preempt_count: PreemptCount(0x1100_0001),
            },
            task: Task { pid: 1, tgid: 2, comm: *b"swapper/3\0\0\0\0\0\0\0" },
            regs: Some(Regs { ip: Address(4), sp: Address(5), rflags: 0x246, user_mode: true }),
            caller: Some(Address(6)),
            rcu_online: Some(true),
            arg: 7,
            track_seq: NonZeroU32::new(8),
            synthetic: true,
            stack: &STACK,
        }
    }

    #[test]
    fn a_snapshot_survives_the_wire_with_and_without_its_stack() {
        for stack in [&STACK[..], &[]] {
            let snapshot = Snapshot { stack, ..full() };
            assert_eq!(decode(&encode(&snapshot), 2), Ok(snapshot));
        }
        let bare =
            Snapshot { regs: None, caller: None, rcu_online: None, synthetic: false, stack: &[], ..full() };
        assert_eq!(decode(&encode(&bare), 2), Ok(bare));
    }

    #[test]
    fn a_record_may_lie_at_any_address() {
        for at in 0..8 {
            let mut bytes = vec![0; at];
            bytes.extend(encode(&full()));
            assert_eq!(decode(&bytes[at..], 2), Ok(full()), "{at}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error() {
        let bytes = encode(&full());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], 2).is_err(), "{len} bytes were enough");
        }
    }

    #[test]
    fn each_lie_has_its_own_error() {
        let lie = |offset: usize, raw: &[u8]| {
            let mut bytes = encode(&full());
            bytes[offset..][..raw.len()].copy_from_slice(raw);
            decode(&bytes, 2).unwrap_err()
        };
        assert_eq!(lie(0, &[9, 0]), DecodeError::UnknownKind(9));
        assert_eq!(lie(2, &[7, 0]), DecodeError::OtherVersion(7));
        assert_eq!(lie(4, &[255, 255, 255, 255]), DecodeError::Length { said: u32::MAX, have: 152 });
        assert_eq!(lie(4, &[8, 0, 0, 0]), DecodeError::Short { need: 128, have: 8 });
        assert_eq!(lie(52, &[2]), DecodeError::ProbeOutOfRange { probe: 2, planned: 2 });
        assert_eq!(lie(56, &[0, 0x20]), DecodeError::CpuOutOfRange(8192));
        assert_eq!(lie(128, &[12]), DecodeError::Stack(12));
        assert_eq!(lie(128, &[0, 1]), DecodeError::Stack(256));
    }

    #[test]
    fn a_stack_longer_than_any_is_refused_though_the_bytes_are_there() {
        let long = vec![1; STACK_FRAMES_MAX * 8 + 8];
        let of = |len| {
            let bytes = encode(&Snapshot { stack: &long[..len], ..full() });
            decode(&bytes, 2).map(drop)
        };
        assert_eq!(of(STACK_FRAMES_MAX * 8), Ok(()));
        assert_eq!(of(long.len()), Err(DecodeError::Stack(264)));
    }

    #[test]
    fn a_stack_that_the_kernel_could_not_take_is_no_stack() {
        let mut bytes = encode(&full());
        bytes[128..136].copy_from_slice(&(-14_i64).to_le_bytes());
        assert_eq!(decode(&bytes, 2), Ok(Snapshot { stack: &[], ..full() }));
    }
}
