//! The BPF ring buffer: one for all CPUs, written in place.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
pub use aya_ebpf::helpers::generated::bpf_probe_read_kernel as read_kernel;
use aya_ebpf::macros::map;
use aya_ebpf::maps::RingBuf;

use crate::maps::global;

/// Records on their way to user space. The loader sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Sends one record, which `fill` must write completely; false where there is no room.
#[inline(always)]
pub fn send<T: 'static>(_ctx: *mut c_void, _probe: u32, fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else { return false };
    fill(entry.as_mut_ptr());
    entry.submit(wake_flags());
    true
}

/// A record wakes the reader only once it has much to read: a wake-up for each would end the idle period
/// that is being watched, and the reader looks by itself ten times a second.
#[inline(always)]
fn wake_flags() -> u64 {
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= global!(STREAM.wake_bytes) {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
