//! The perf event array: a buffer for each CPU, for kernels without a ring buffer (it came with 5.8).
//!
//! Nothing can be reserved there: a record is put together in a map value and copied. Each probe has its own,
//! so that an NMI's record does not overwrite the one that it interrupted. `bpf_probe_read` instead of its
//! `_kernel` form, which came with 5.5: on the machines that have these kernels it reads the same memory.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_CURRENT_CPU;
use aya_ebpf::helpers::generated::bpf_perf_event_output;
pub(crate) use aya_ebpf::helpers::generated::bpf_probe_read as read_kernel;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerfEventByteArray};
use rcu_watch_common::record::{SnapshotRecord, StackRecord};
use rcu_watch_common::slot;

/// Records on their way to user space, by CPU.
#[map]
pub(crate) static EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

/// Where each probe puts its record together.
#[map]
static SCRATCH: PerCpuArray<StackRecord> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// There is never anything to send: nothing is kept here. Each CPU has a buffer of its own, so a record that finds no
/// room now would find none later.
#[inline(always)]
pub(crate) fn send_kept() -> bool {
    true
}

/// Keeps nothing, for the reason that [`send_kept`] gives.
#[inline(always)]
pub(crate) fn keep(_fill: impl FnOnce(*mut SnapshotRecord)) -> bool {
    false
}

/// Sends one record, which `fill` must write completely; false where there is no room.
///
/// `T` is a [`StackRecord`] or something smaller.
#[inline(always)]
pub(crate) fn send<T: 'static>(ctx: *mut c_void, probe: u32, fill: impl FnOnce(*mut T)) -> bool {
    const { assert!(size_of::<T>() <= size_of::<StackRecord>()) };
    let Some(scratch) = SCRATCH.get_ptr_mut(probe) else { return false };
    fill(scratch.cast::<T>());
    // SAFETY: a map, and a map value of at least the size of T that was just written. The helper's error is
    // all there is to know of a record that found no room (kernel/trace/bpf_trace.c:__bpf_perf_event_output).
    unsafe {
        bpf_perf_event_output(
            ctx,
            (&raw const EVENTS).cast_mut().cast(),
            BPF_F_CURRENT_CPU,
            scratch.cast(),
            size_of::<T>() as u64,
        ) == 0
    }
}
