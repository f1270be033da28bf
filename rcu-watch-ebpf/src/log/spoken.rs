//! What programs have to say of hits that came to nothing. Counted they are anyway.
//!
//! Functions of their own: the stack of a program is 512 bytes, and a line takes much of it.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_log_ebpf::debug;

/// S moved while the words were read, or they could not be read.
#[inline(never)]
pub fn unstable(probe: u32, block: u64) {
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    debug!((), "probe {} on CPU {}: S at {:x} moved while it was read, or cannot be read", probe, cpu, block);
}

/// The transport had no room.
#[inline(never)]
pub fn lost(probe: u32, probe_seq: u64) {
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    debug!((), "probe {} on CPU {}: no room for record {}", probe, cpu, probe_seq);
}
