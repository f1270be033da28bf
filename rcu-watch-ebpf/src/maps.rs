//! The maps and read-only globals that programs and loader share by name, but for EVENTS, which belongs
//! to the transport.
//!
//! Arrays only: on 5.10 a hash map has no protection against the NMI that interrupts its user.

use core::ptr;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use rcu_watch_common::config::{CalibrationSample, StateLayout, StreamConfig, mode};
use rcu_watch_common::counter::ProbeState;
use rcu_watch_common::slot;

/// The books, by probe id.
#[map]
pub(crate) static LOSS: PerCpuArray<ProbeState> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Not 0: the next record of this probe takes a kernel stack along. The program clears it.
#[map]
pub(crate) static WANT_STACK: Array<u32> = Array::with_max_entries(slot::COUNT, 0);

/// By CPU: not 0 where that CPU is not watched. Each probe asks once.
#[map]
pub(crate) static UNWATCHED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What `rcuw_cal_read` read last.
#[map]
pub(crate) static CALIBRATION: Array<CalibrationSample> = Array::with_max_entries(1, 0);

/// Per CPU, the last interrupt that hit its idle task out of an EQS.
#[map]
pub(crate) static CALIBRATION_IRQ: PerCpuArray<CalibrationSample> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
pub(crate) static LAYOUT: StateLayout = StateLayout {
    per_cpu_offset: 0,
    block: 0,
    preempt_count: 0,
    nmi_mask: 0,
    hardirq_mask: 0,
    state_offset: 0,
    nesting_offset: 0,
    nmi_nesting_offset: 0,
    rest_mask: 0,
    rest_state: 0,
    preempt_count_bytes: 0,
    rcu_data: 0,
    grpmask_offset: 0,
    mynode_offset: 0,
    qsmaskinitnext_offset: 0,
    padding: 0,
};

#[unsafe(no_mangle)]
pub(crate) static STREAM: StreamConfig = StreamConfig { wake_bytes: 0 };

/// One of `mode`. The only global that is not frozen: user space changes it while programs run.
#[unsafe(no_mangle)]
pub(crate) static mut MODE: u32 = mode::STOPPED;

/// One field of a global: a load by itself, and where it is frozen a constant to the verifier. A whole struct would be
/// copied to the stack first.
macro_rules! global {
    ($global:ident.$field:ident) => {
        $crate::maps::read(&raw const $crate::maps::$global.$field)
    };
}
pub(crate) use global;

/// What is to be done with hits.
#[inline(always)]
pub(crate) fn mode() -> u32 {
    read(&raw const MODE)
}

/// What [`global`] expands to: one load.
#[inline(always)]
pub(crate) fn read<T: Copy>(field: *const T) -> T {
    // SAFETY: all of a static or a field of it; volatile because user space sets the bytes.
    unsafe { ptr::read_volatile(field) }
}
