//! The BPF ring buffer: one for all CPUs, written in place.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
pub(crate) use aya_ebpf::helpers::generated::bpf_probe_read_kernel as read_kernel;
use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use rcu_watch_common::record::{KEPT_MAX, KeptRecords, SnapshotRecord};

use crate::maps::global;

/// Records on their way to user space. The loader sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records that did not get the ring's lock. What runs like an NMI, as a watchpoint's program does, does not wait for a
/// lock that another CPU has (kernel/bpf/ringbuf.c:__bpf_ringbuf_reserve). For the programs that track only: none of them
/// interrupts another.
#[map]
static KEPT: PerCpuArray<KeptRecords> = PerCpuArray::with_max_entries(1, 0);

/// Sends what this CPU kept; false where something of it still waits.
#[inline(always)]
pub(crate) fn send_kept() -> bool {
    let Some(kept) = KEPT.get_ptr_mut(0) else { return true };
    // SAFETY: this CPU's map value, and an index that is within the array.
    unsafe {
        let end = (*kept).end;
        if end == 0 {
            return true;
        }
        for _ in 0..KEPT_MAX {
            let first = (*kept).first;
            if first >= end {
                break;
            }
            // A mask, which the verifier understands wherever the compiler puts it; a comparison it does not.
            let record = &raw mut (*kept).records[first as usize % KEPT_MAX];
            let size = size_of::<SnapshotRecord>() as u64;
            let flags = u64::from(BPF_RB_NO_WAKEUP);
            if bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record.cast(), size, flags) != 0 {
                return false;
            }
            (*kept).first = first + 1;
        }
        (*kept).first = 0;
        (*kept).end = 0;
    }
    true
}

/// Keeps one record, which `fill` must write completely, until this CPU sends again; false where there is no room.
#[inline(always)]
pub(crate) fn keep(fill: impl FnOnce(*mut SnapshotRecord)) -> bool {
    let Some(kept) = KEPT.get_ptr_mut(0) else { return false };
    // SAFETY: as in `send_kept`.
    unsafe {
        let end = (*kept).end as usize;
        if end >= KEPT_MAX {
            return false;
        }
        fill(&raw mut (*kept).records[end]);
        (*kept).end += 1;
    }
    true
}

/// Sends one record, which `fill` must write completely; false where there is no room.
#[inline(always)]
pub(crate) fn send<T: 'static>(_ctx: *mut c_void, _probe: u32, fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else { return false };
    fill(entry.as_mut_ptr());
    entry.submit(wake_flags());
    true
}

/// Records wake the reader in the first 1/128 of each stretch of `wake_bytes` that fills up.
const WAKES: u64 = 128;

/// A record wakes the reader only once it has much to read: a wake-up for each would end the idle period
/// that is being watched, and the reader looks by itself ten times a second.
///
/// After that not every record wakes it either: a wake-up is an interrupt, and an interrupt runs what is probed. Where
/// each makes several records that wake, the CPU does nothing else any more, and reads least of all.
#[inline(always)]
fn wake_flags() -> u64 {
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let wake_bytes = global!(STREAM.wake_bytes);
    if waiting >= wake_bytes && waiting & (wake_bytes - 1) < wake_bytes / WAKES {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
