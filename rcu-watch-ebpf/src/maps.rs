//! The maps and read-only globals that programs and loader share by name, but for EVENTS, which belongs
//! to the transport.
//!
//! Arrays only: on 5.10 a hash map has no protection against the NMI that interrupts its user.

use core::ptr;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use rcu_watch_common::config::{CalibrationSample, CpuState, StateLayout, StreamConfig};
use rcu_watch_common::counter::ProbeCounters;
use rcu_watch_common::slot;

/// The books, by probe id.
#[map]
pub static LOSS: PerCpuArray<ProbeCounters> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Not 0: the next record of this probe takes a kernel stack along. The program clears it.
#[map]
pub static WANT_STACK: Array<u32> = Array::with_max_entries(slot::COUNT, 0);

/// What a program needs to know of the CPU that it runs on.
#[map]
pub static CPU: PerCpuArray<CpuState> = PerCpuArray::with_max_entries(1, 0);

/// What `rcuw_cal_read` read last.
#[map]
pub static CALIBRATION: Array<CalibrationSample> = Array::with_max_entries(1, 0);

/// Per CPU, the last interrupt that hit its idle task out of an EQS.
#[map]
pub static CALIBRATION_IRQ: PerCpuArray<CalibrationSample> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
static LAYOUT: StateLayout = StateLayout {
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
static STREAM: StreamConfig = StreamConfig { wake_bytes: 0, emit_at_rest: 0, padding: 0 };

/// Where this kernel keeps the words.
#[inline(always)]
pub fn layout() -> StateLayout {
    // SAFETY: a valid static; volatile because the loader replaces its bytes before the programs run.
    unsafe { ptr::read_volatile(&raw const LAYOUT) }
}

/// How to send.
#[inline(always)]
pub fn stream() -> StreamConfig {
    // SAFETY: as in `layout`.
    unsafe { ptr::read_volatile(&raw const STREAM) }
}
