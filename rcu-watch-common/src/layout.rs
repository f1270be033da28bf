//! Compile-time proof of the wire layout: both sides are built from these types, and recordings outlive
//! builds.

use core::mem::{offset_of, size_of};

use crate::config::{CalibrationSample, StateLayout, StreamConfig};
use crate::counter::ProbeState;
use crate::peek::PeekWords;
use crate::record::{KEPT_MAX, KeptRecords, RecordHeader, STACK_FRAMES_MAX, SnapshotRecord, StackRecord};

// The records hold native integers, because types with a byte order of their own have alignment 1, which would have
// the programs write byte by byte.
const _: () = assert!(cfg!(target_endian = "little"), "the records on the wire are little-endian");

const _: () = {
    assert!(size_of::<RecordHeader>() == 8);
    assert!(size_of::<SnapshotRecord>() == 128);
    assert!(offset_of!(SnapshotRecord, ts_ns) == 8);
    assert!(offset_of!(SnapshotRecord, probe_seq) == 16);
    assert!(offset_of!(SnapshotRecord, nesting) == 24);
    assert!(offset_of!(SnapshotRecord, nmi_nesting) == 32);
    assert!(offset_of!(SnapshotRecord, preempt_count) == 40);
    assert!(offset_of!(SnapshotRecord, state) == 48);
    assert!(offset_of!(SnapshotRecord, probe) == 52);
    assert!(offset_of!(SnapshotRecord, cpu) == 56);
    assert!(offset_of!(SnapshotRecord, flags) == 60);
    assert!(offset_of!(SnapshotRecord, pid) == 64);
    assert!(offset_of!(SnapshotRecord, tgid) == 68);
    assert!(offset_of!(SnapshotRecord, ip) == 72);
    assert!(offset_of!(SnapshotRecord, caller) == 80);
    assert!(offset_of!(SnapshotRecord, rflags) == 88);
    assert!(offset_of!(SnapshotRecord, track_seq) == 92);
    assert!(offset_of!(SnapshotRecord, sp) == 96);
    assert!(offset_of!(SnapshotRecord, arg) == 104);
    assert!(offset_of!(SnapshotRecord, comm) == 112);
    assert!(size_of::<StackRecord>() == 128 + 8 + 8 * STACK_FRAMES_MAX);
    assert!(offset_of!(StackRecord, frames_len_bytes) == 128);
    assert!(offset_of!(StackRecord, frames) == 136);
    assert!(size_of::<KeptRecords>() == 8 + 128 * KEPT_MAX);
    assert!(size_of::<ProbeState>() == 64);
    assert!(size_of::<StateLayout>() == 88);
    assert!(size_of::<StreamConfig>() == 8);
    assert!(size_of::<CalibrationSample>() == 48);
    assert!(size_of::<PeekWords>() == 4352);
    assert!(offset_of!(PeekWords, values) == 2048);
    assert!(offset_of!(PeekWords, failed) == 4096);
};
