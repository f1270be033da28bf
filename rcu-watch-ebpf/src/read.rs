//! The only raw dereferences: this CPU's words, by the addresses that the loader found.
//!
//! S, N and M come from one probe_read. If an interrupt came in between, S has moved by the
//! time it is read again ([`is_stable`]): every transition steps S, and a balanced interrupt out of an EQS
//! steps it twice.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use rcu_watch_common::config::{STATE_BLOCK_BYTES, mode, usual};
use rcu_watch_common::counter::{ProbeState, UNKNOWN, UNWATCHED};
use rcu_watch_common::record::flag;

use crate::maps::{self, global};
use crate::transport::read_kernel;

/// M at rest: `DYNTICK_IRQ_NONIDLE`, since 6.0 `CT_NESTING_IRQ_NONIDLE`, LONG_MAX/2 + 1.
pub(crate) const NMI_NESTING_REST: u64 = 1 << 62;

/// P where it could not be read; no kernel counts that deep.
pub(crate) const UNREAD: u64 = u64::MAX;

/// S, N and M of one CPU.
#[derive(Clone, Copy, Default)]
pub(crate) struct Words {
    pub state: u32,
    pub nesting: u64,
    pub nmi_nesting: u64,
    /// Address of the block that they were read from.
    pub block: u64,
}

// No `Option` of what was read: its payload is undefined when it is `None`, the compiler copies it all the same,
// and the verifier refuses to read a register that was never written.

/// Fills `value` from kernel memory; false where that cannot be read.
#[inline(always)]
fn read<T: Copy>(address: u64, value: &mut T) -> bool {
    // SAFETY: the helper writes as many bytes as `T` has, and fails on an address that cannot be read.
    unsafe { read_kernel(ptr::from_mut(value).cast(), size_of::<T>() as u32, address as *const _) == 0 }
}

/// Finds where the running CPU has its block, and keeps the address for the probe's next hit. It is [`UNKNOWN`] or
/// [`UNWATCHED`] where hits do not count.
#[inline(never)]
pub(crate) fn find_block(state: &mut ProbeState) -> u64 {
    if state.block == UNKNOWN && maps::mode() != mode::STOPPED {
        // SAFETY: no arguments, no side effects.
        state.block = if is_watched() { block_of(unsafe { bpf_get_smp_processor_id() }) } else { UNWATCHED };
    }
    state.block
}

#[inline(always)]
fn is_watched() -> bool {
    let Some(unwatched) = maps::UNWATCHED.get_ptr(0) else { return false };
    // SAFETY: a map value of this CPU; the verifier holds us to its bounds.
    unsafe { *unwatched == 0 }
}

/// Whether RCU takes this CPU for online, that is whether grace periods wait for it. `words` are this CPU's. The
/// answer is bits of `flag`; there are none where it cannot be told.
///
/// `rcu_data.mynode->qsmaskinitnext & rcu_data.grpmask`, kernel/rcu/tree.c:rcu_lockdep_current_cpu_online. Where
/// the word lies and which bit it is never change after boot.
#[inline(always)]
pub(crate) fn rcu_online(state: &mut ProbeState, words: &Words) -> u32 {
    if global!(LAYOUT.rcu_data) == 0 {
        return 0;
    }
    if state.online_word == 0 {
        let rcu_data = global!(LAYOUT.rcu_data).wrapping_add(cpu_offset(words));
        let node = kernel_word(rcu_data.wrapping_add(u64::from(global!(LAYOUT.mynode_offset))));
        let bit = kernel_word(rcu_data.wrapping_add(u64::from(global!(LAYOUT.grpmask_offset))));
        if node == 0 || bit == 0 {
            return 0;
        }
        state.online_bit = bit;
        state.online_word = node.wrapping_add(u64::from(global!(LAYOUT.qsmaskinitnext_offset)));
    }
    let mut online = 0u64;
    if !read(state.online_word, &mut online) {
        return 0;
    }
    if online & state.online_bit == 0 {
        flag::HAS_RCU_ONLINE
    } else {
        flag::HAS_RCU_ONLINE | flag::RCU_ONLINE
    }
}

/// Where `cpu` has its block; [`UNKNOWN`] where that cannot be read.
#[inline(always)]
fn block_of(cpu: u32) -> u64 {
    let mut offset = 0u64;
    let readable = read(global!(LAYOUT.per_cpu_offset).wrapping_add(u64::from(cpu) * 8), &mut offset);
    if readable && offset != 0 { global!(LAYOUT.block).wrapping_add(offset) } else { UNKNOWN }
}

/// A block as it was read. It has a word more than is copied: the compiler does not know the offsets in it, and the
/// masks that bound them ([`take`]) reach that far.
pub(crate) type Block = MaybeUninit<[u64; STATE_BLOCK_BYTES / 8 + 1]>;

/// Copies a block; false where it cannot be read.
#[inline(always)]
pub(crate) fn copy(block: u64, copy: &mut Block) -> bool {
    // SAFETY: the helper writes as many bytes as it is told, of which there are more, or fails.
    unsafe { read_kernel(copy.as_mut_ptr().cast(), STATE_BLOCK_BYTES as u32, block as *const _) == 0 }
}

/// Whether the words, where their layout is the usual one, are those of a task in the kernel. The compiler knows all
/// offsets and values here, so this is half as long as [`take`].
#[inline(always)]
pub(crate) fn is_usual_task(copy: &Block) -> bool {
    let bytes = copy.as_ptr().cast::<u8>();
    // SAFETY: aligned places within the part of the copy that was written.
    let (state, nesting, nmi_nesting) = unsafe {
        (
            *bytes.add(usual::STATE_OFFSET).cast::<u32>(),
            *bytes.add(usual::NESTING_OFFSET).cast::<u64>(),
            *bytes.add(usual::NMI_NESTING_OFFSET).cast::<u64>(),
        )
    };
    state & usual::REST_MASK == usual::REST_STATE && nesting == 1 && nmi_nesting == NMI_NESTING_REST
}

/// The words of a block that was copied.
#[inline(always)]
pub(crate) fn take(block: u64, copy: &Block) -> Words {
    let bytes = copy.as_ptr().cast::<u8>();
    // SAFETY: the loader only sets offsets within the block, aligned; for the verifier they are constants of
    // a frozen map, and the masks keep them within the copy all the same.
    unsafe {
        Words {
            state: *bytes.add((global!(LAYOUT.state_offset) & 28) as usize).cast::<u32>(),
            nesting: *bytes.add((global!(LAYOUT.nesting_offset) & 24) as usize).cast::<u64>(),
            nmi_nesting: *bytes.add((global!(LAYOUT.nmi_nesting_offset) & 24) as usize).cast::<u64>(),
            block,
        }
    }
}

/// The words of another CPU: for calibration and statistics only, since nothing holds it still.
#[inline(always)]
pub(crate) fn remote_words(cpu: u32, remote: &mut Words) -> bool {
    let block = block_of(cpu);
    let mut read = Block::uninit();
    if block == UNKNOWN || !copy(block, &mut read) {
        return false;
    }
    *remote = take(block, &read);
    true
}

/// Whether S is still what it was.
#[inline(always)]
pub(crate) fn is_stable(words: &Words) -> bool {
    let address = words.block.wrapping_add(u64::from(global!(LAYOUT.state_offset)));
    let mut state = 0u32;
    read(address, &mut state) && state == words.state
}

/// `__per_cpu_offset` of the CPU that `words` were read from.
#[inline(always)]
pub(crate) fn cpu_offset(words: &Words) -> u64 {
    words.block.wrapping_sub(global!(LAYOUT.block))
}

/// P of the CPU that `words` were read from, or [`UNREAD`].
#[inline(always)]
pub(crate) fn preempt_count(words: &Words) -> u64 {
    let address = global!(LAYOUT.preempt_count).wrapping_add(cpu_offset(words));
    if global!(LAYOUT.preempt_count_bytes) == 8 {
        let mut count = 0u64;
        if read(address, &mut count) { count } else { UNREAD }
    } else {
        let mut count = 0u32;
        if read(address, &mut count) { u64::from(count) } else { UNREAD }
    }
}

/// A word of kernel memory, 0 where it cannot be read.
#[inline(always)]
pub(crate) fn kernel_word(address: u64) -> u64 {
    let mut word = 0u64;
    if read(address, &mut word) { word } else { 0 }
}
