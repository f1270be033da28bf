//! From the bytes of one record to a [`Snapshot`].
//!
//! Total: any bytes give a snapshot or a typed error, never a panic. Nothing is copied but integers; the
//! stack stays where it is. Offsets are those of the wire types themselves, which assert them.

use alloc::vec;
use alloc::vec::Vec;
use core::mem::{offset_of, size_of};
use core::num::NonZeroU32;

use rcu_watch_common::record::{RecordHeader, SnapshotRecord, StackRecord, WIRE_VERSION, flag, kind};

use super::snapshot::{RcuState, Regs, Snapshot, Task};
use super::units::{Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

/// CPUs that a kernel can be built for (`NR_CPUS` of x86-64 with MAXSMP).
pub const CPUS_MAX: u32 = 8192;

const FRAMES: usize = offset_of!(StackRecord, frames);
const TRACK_SEQ: usize = offset_of!(SnapshotRecord, track_seq);

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record is {have} bytes long where {need} are needed; the stream is cut short or corrupt")]
    Short { need: usize, have: usize },
    #[error("record says it is {said} bytes long and is {have}; the stream is corrupt")]
    Length { said: u32, have: usize },
    #[error(
        "record is of version {0}, this build reads version {WIRE_VERSION}; use the rcu-watch that wrote it"
    )]
    OtherVersion(u16),
    #[error("record is of unknown kind {0}; the stream is corrupt")]
    UnknownKind(u16),
    #[error(
        "record is of probe {probe}, the plan has {planned}; the plan is not the one it was recorded with"
    )]
    ProbeOutOfRange { probe: u32, planned: u32 },
    #[error("record is of CPU {0}, beyond any kernel's {CPUS_MAX}; the stream is corrupt")]
    CpuOutOfRange(u32),
    #[error("record says it holds {0} bytes of stack, which is no number of frames; the stream is corrupt")]
    Stack(i64),
}

/// Decodes one record of a plan with `probes` probes. Bytes after the record are ignored.
///
/// # Errors
/// Where the bytes are no record of this version, or name a probe or CPU that cannot be.
pub fn decode(bytes: &[u8], probes: u32) -> Result<Snapshot<'_>, DecodeError> {
    let header: &[u8; size_of::<RecordHeader>()] = bytes
        .first_chunk()
        .ok_or(DecodeError::Short { need: size_of::<RecordHeader>(), have: bytes.len() })?;
    let version = u16_at(header, offset_of!(RecordHeader, version));
    if version != WIRE_VERSION {
        return Err(DecodeError::OtherVersion(version));
    }
    let said = u32_at(header, offset_of!(RecordHeader, len_bytes));
    let body = usize::try_from(said)
        .ok()
        .and_then(|len| bytes.get(..len))
        .ok_or(DecodeError::Length { said, have: bytes.len() })?;
    let fixed: &[u8; size_of::<SnapshotRecord>()] = body
        .first_chunk()
        .ok_or(DecodeError::Short { need: size_of::<SnapshotRecord>(), have: body.len() })?;
    let stack = match u16_at(header, offset_of!(RecordHeader, kind)) {
        kind::SNAPSHOT => &[],
        kind::SNAPSHOT_WITH_STACK => stack_of(body)?,
        other => return Err(DecodeError::UnknownKind(other)),
    };
    snapshot_of(fixed, stack, probes)
}

/// The valid frames of a [`StackRecord`]; none where the kernel could not take the stack.
fn stack_of(body: &[u8]) -> Result<&[u8], DecodeError> {
    if body.len() < FRAMES {
        return Err(DecodeError::Short { need: FRAMES, have: body.len() });
    }
    let len = u64_at(body, offset_of!(StackRecord, frames_len_bytes)).cast_signed();
    if len < 0 {
        return Ok(&[]);
    }
    usize::try_from(len)
        .ok()
        .filter(|len| len % size_of::<u64>() == 0)
        .and_then(|len| body.get(FRAMES..FRAMES.checked_add(len)?))
        .ok_or(DecodeError::Stack(len))
}

fn snapshot_of<'record>(
    fixed: &[u8; size_of::<SnapshotRecord>()],
    stack: &'record [u8],
    probes: u32,
) -> Result<Snapshot<'record>, DecodeError> {
    let u32_of = |offset| u32_at(fixed, offset);
    let u64_of = |offset| u64_at(fixed, offset);
    let probe = u32_of(offset_of!(SnapshotRecord, probe));
    if probe >= probes {
        return Err(DecodeError::ProbeOutOfRange { probe, planned: probes });
    }
    let cpu = u32_of(offset_of!(SnapshotRecord, cpu));
    if cpu >= CPUS_MAX {
        return Err(DecodeError::CpuOutOfRange(cpu));
    }
    let flags = u32_of(offset_of!(SnapshotRecord, flags));
    let mut comm = [0; 16];
    comm.copy_from_slice(&fixed[offset_of!(SnapshotRecord, comm)..][..16]);
    Ok(Snapshot {
        cpu: CpuId(cpu),
        probe: ProbeId(probe),
        probe_seq: u64_of(offset_of!(SnapshotRecord, probe_seq)),
        ts: Nanos(u64_of(offset_of!(SnapshotRecord, ts_ns))),
        rcu: RcuState {
            state: StateWord(u32_of(offset_of!(SnapshotRecord, state))),
            nesting: Counter(u64_of(offset_of!(SnapshotRecord, nesting)).cast_signed()),
            nmi_nesting: Counter(u64_of(offset_of!(SnapshotRecord, nmi_nesting)).cast_signed()),
            preempt_count: PreemptCount(u64_of(offset_of!(SnapshotRecord, preempt_count))),
        },
        task: Task {
            pid: u32_of(offset_of!(SnapshotRecord, pid)),
            tgid: u32_of(offset_of!(SnapshotRecord, tgid)),
            comm,
        },
        regs: (flags & flag::HAS_REGS != 0).then(|| Regs {
            ip: Address(u64_of(offset_of!(SnapshotRecord, ip))),
            sp: Address(u64_of(offset_of!(SnapshotRecord, sp))),
            rflags: u64::from(u32_of(offset_of!(SnapshotRecord, rflags))),
            user_mode: flags & flag::USER_REGS != 0,
        }),
        caller: (flags & flag::HAS_CALLER != 0).then(|| Address(u64_of(offset_of!(SnapshotRecord, caller)))),
        rcu_online: (flags & flag::HAS_RCU_ONLINE != 0).then_some(flags & flag::RCU_ONLINE != 0),
        arg: u64_of(offset_of!(SnapshotRecord, arg)),
        track_seq: NonZeroU32::new(u32_of(TRACK_SEQ)),
        synthetic: flags & flag::SYNTHETIC != 0,
        stack,
    })
}

// The offsets below are in bounds for every caller: each slice was checked to hold the type that they are of.

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let mut raw = [0; 2];
    raw.copy_from_slice(&bytes[offset..][..2]);
    u16::from_le_bytes(raw)
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[offset..][..4]);
    u32::from_le_bytes(raw)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[offset..][..8]);
    u64::from_le_bytes(raw)
}

/// A record as the BPF side writes it, for tests and for replayed or synthetic streams.
#[must_use]
pub fn encode(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let stacked = !snapshot.stack.is_empty();
    let len = if stacked { FRAMES + snapshot.stack.len() } else { size_of::<SnapshotRecord>() };
    let mut bytes = vec![0; len];
    let mut put = |offset: usize, raw: &[u8]| bytes[offset..][..raw.len()].copy_from_slice(raw);
    let record_kind = if stacked { kind::SNAPSHOT_WITH_STACK } else { kind::SNAPSHOT };
    put(offset_of!(RecordHeader, kind), &record_kind.to_le_bytes());
    put(offset_of!(RecordHeader, version), &WIRE_VERSION.to_le_bytes());
    put(offset_of!(RecordHeader, len_bytes), &u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    put(offset_of!(SnapshotRecord, ts_ns), &snapshot.ts.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, probe_seq), &snapshot.probe_seq.to_le_bytes());
    put(offset_of!(SnapshotRecord, nesting), &snapshot.rcu.nesting.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, nmi_nesting), &snapshot.rcu.nmi_nesting.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, preempt_count), &snapshot.rcu.preempt_count.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, state), &snapshot.rcu.state.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, probe), &snapshot.probe.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, cpu), &snapshot.cpu.0.to_le_bytes());
    put(offset_of!(SnapshotRecord, pid), &snapshot.task.pid.to_le_bytes());
    put(offset_of!(SnapshotRecord, tgid), &snapshot.task.tgid.to_le_bytes());
    put(offset_of!(SnapshotRecord, comm), &snapshot.task.comm);
    put(offset_of!(SnapshotRecord, arg), &snapshot.arg.to_le_bytes());
    let track_seq = snapshot.track_seq.map_or(0, NonZeroU32::get);
    put(TRACK_SEQ, &track_seq.to_le_bytes());
    let mut flags = 0;
    if let Some(regs) = &snapshot.regs {
        flags |= flag::HAS_REGS | if regs.user_mode { flag::USER_REGS } else { 0 };
        put(offset_of!(SnapshotRecord, ip), &regs.ip.0.to_le_bytes());
        put(offset_of!(SnapshotRecord, sp), &regs.sp.0.to_le_bytes());
        put(offset_of!(SnapshotRecord, rflags), &(regs.rflags as u32).to_le_bytes());
    }
    if let Some(caller) = snapshot.caller {
        flags |= flag::HAS_CALLER;
        put(offset_of!(SnapshotRecord, caller), &caller.0.to_le_bytes());
    }
    if let Some(online) = snapshot.rcu_online {
        flags |= flag::HAS_RCU_ONLINE | if online { flag::RCU_ONLINE } else { 0 };
    }
    if snapshot.synthetic {
        flags |= flag::SYNTHETIC;
    }
    put(offset_of!(SnapshotRecord, flags), &flags.to_le_bytes());
    if stacked {
        put(offset_of!(StackRecord, frames_len_bytes), &(snapshot.stack.len() as u64).to_le_bytes());
        put(FRAMES, snapshot.stack);
    }
    bytes
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
    fn a_stack_that_the_kernel_could_not_take_is_no_stack() {
        let mut bytes = encode(&full());
        bytes[128..136].copy_from_slice(&(-14_i64).to_le_bytes());
        assert_eq!(decode(&bytes, 2), Ok(Snapshot { stack: &[], ..full() }));
    }
}
