//! The only raw dereferences: this CPU's words, by the addresses that the loader found.
//!
//! S, N and M come from one probe_read. If an interrupt came in between, S has moved by the
//! time it is read again ([`is_stable`]): every transition steps S, and a balanced interrupt out of an EQS
//! steps it twice.

use core::ptr;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use rcu_watch_common::config::{CpuState, STATE_BLOCK_BYTES, StateLayout};
use rcu_watch_common::record::flag;

use crate::maps::{CPU, layout};
use crate::transport::read_kernel;

/// M at rest: `DYNTICK_IRQ_NONIDLE`, since 6.0 `CT_NESTING_IRQ_NONIDLE`, LONG_MAX/2 + 1.
pub const NMI_NESTING_REST: u64 = 1 << 62;

/// P where it could not be read; no kernel counts that deep.
pub const UNREAD: u64 = u64::MAX;

/// S, N and M of one CPU, and where they were read.
#[derive(Clone, Copy, Default)]
pub struct Words {
    pub state: u32,
    pub nesting: u64,
    pub nmi_nesting: u64,
    pub cpu_offset: u64,
}

// No `Option` of what was read: its payload is undefined when it is `None`, the compiler copies it all the same,
// and the verifier refuses to read a register that was never written.

/// Fills `value` from kernel memory; false where that cannot be read.
#[inline(always)]
fn read<T: Copy>(address: u64, value: &mut T) -> bool {
    // SAFETY: the helper writes as many bytes as `T` has, and fails on an address that cannot be read.
    unsafe { read_kernel(ptr::from_mut(value).cast(), size_of::<T>() as u32, address as *const _) == 0 }
}

/// Where the running CPU's per-CPU data starts; 0 where this CPU is not watched or that cannot be read.
///
/// A run that `tracks` gets the CPU's next number. What tracks does not nest, so the count needs no atomics.
#[inline(always)]
pub fn watched_cpu(tracks: bool, track_seq: &mut u32) -> u64 {
    let Some(state) = CPU.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value of this CPU; the verifier holds us to its bounds.
    let CpuState { offset, unwatched, track_seq: last, .. } = unsafe { *state };
    if unwatched != 0 {
        return 0;
    }
    if tracks {
        *track_seq = last.wrapping_add(1);
        // SAFETY: as above.
        unsafe { (*state).track_seq = *track_seq };
    }
    if offset != 0 {
        return offset;
    }
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let offset = cpu_offset(&layout(), cpu);
    // SAFETY: as above.
    unsafe { (*state).offset = offset };
    offset
}

/// Whether RCU takes this CPU, whose per-CPU data starts at `offset`, for online, that is whether grace periods
/// wait for it: bits of `flag`, none where that cannot be told.
///
/// `rcu_data.mynode->qsmaskinitnext & rcu_data.grpmask`, kernel/rcu/tree.c:rcu_lockdep_current_cpu_online. Where
/// the word lies and which bit it is never change after boot.
#[inline(always)]
pub fn rcu_online(offset: u64) -> u32 {
    let layout = layout();
    if layout.rcu_data == 0 {
        return 0;
    }
    let Some(state) = CPU.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value of this CPU.
    let CpuState { mut online_word, mut online_bit, .. } = unsafe { *state };
    if online_word == 0 {
        let rcu_data = layout.rcu_data + offset;
        let node = kernel_word(rcu_data + u64::from(layout.mynode_offset));
        online_bit = kernel_word(rcu_data + u64::from(layout.grpmask_offset));
        if node == 0 || online_bit == 0 {
            return 0;
        }
        online_word = node + u64::from(layout.qsmaskinitnext_offset);
        // SAFETY: as above.
        unsafe {
            (*state).online_bit = online_bit;
            (*state).online_word = online_word;
        }
    }
    let mut online = 0u64;
    if !read(online_word, &mut online) {
        return 0;
    }
    if online & online_bit == 0 { flag::HAS_RCU_ONLINE } else { flag::HAS_RCU_ONLINE | flag::RCU_ONLINE }
}

/// Where `cpu`'s per-CPU data starts; 0 where that cannot be read.
#[inline(always)]
fn cpu_offset(layout: &StateLayout, cpu: u32) -> u64 {
    let mut offset = 0u64;
    if read(layout.per_cpu_offset + u64::from(cpu) * 8, &mut offset) { offset } else { 0 }
}

/// The words of the CPU whose per-CPU data starts at `cpu_offset`; false where they cannot be read.
#[inline(always)]
pub fn words(cpu_offset: u64, words: &mut Words) -> bool {
    let layout = layout();
    let mut block = [0u64; STATE_BLOCK_BYTES / 8];
    if !read(layout.block + cpu_offset, &mut block) {
        return false;
    }
    let bytes = block.as_ptr().cast::<u8>();
    // SAFETY: the loader only sets offsets within the block, aligned; for the verifier they are constants of
    // a frozen map, and the masks keep them in bounds all the same.
    unsafe {
        words.state = *bytes.add((layout.state_offset & 28) as usize).cast::<u32>();
        words.nesting = *bytes.add((layout.nesting_offset & 24) as usize).cast::<u64>();
        words.nmi_nesting = *bytes.add((layout.nmi_nesting_offset & 24) as usize).cast::<u64>();
    }
    words.cpu_offset = cpu_offset;
    true
}

/// The words of another CPU: for calibration and statistics only, since nothing holds it still.
#[inline(always)]
pub fn remote_words(cpu: u32, remote: &mut Words) -> bool {
    let offset = cpu_offset(&layout(), cpu);
    offset != 0 && words(offset, remote)
}

/// Whether S is still what it was.
#[inline(always)]
pub fn is_stable(words: &Words) -> bool {
    let layout = layout();
    let address = layout.block + words.cpu_offset + u64::from(layout.state_offset);
    let mut state = 0u32;
    read(address, &mut state) && state == words.state
}

/// P of the CPU that `words` were read from, or [`UNREAD`].
#[inline(always)]
pub fn preempt_count(words: &Words) -> u64 {
    let layout = layout();
    let address = layout.preempt_count + words.cpu_offset;
    if layout.preempt_count_bytes == 8 {
        let mut count = 0u64;
        if read(address, &mut count) { count } else { UNREAD }
    } else {
        let mut count = 0u32;
        if read(address, &mut count) { u64::from(count) } else { UNREAD }
    }
}

/// A word of kernel memory, 0 where it cannot be read.
#[inline(always)]
pub fn kernel_word(address: u64) -> u64 {
    let mut word = 0u64;
    if read(address, &mut word) { word } else { 0 }
}
