//! What the programs log about hits that came to nothing. Such hits are counted in any case.
//!
//! Each message has a function of its own, because a program has 512 bytes of stack and a message takes much of that.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_log_ebpf::debug;

/// S moved while the words were read, or they could not be read.
#[inline(never)]
pub(crate) fn unstable(probe: u32, block: u64) {
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    debug!((), "probe {} on CPU {}: S at {:x} moved while it was read, or cannot be read", probe, cpu, block);
}

/// The transport had no room.
#[inline(never)]
pub(crate) fn lost(probe: u32, probe_seq: u64) {
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    debug!((), "probe {} on CPU {}: no room for record {}", probe, cpu, probe_seq);
}
