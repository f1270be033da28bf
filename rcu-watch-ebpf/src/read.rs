//! The only raw dereferences: this CPU's words, by the addresses that the loader found.
//!
//! S, N and M come from one `bpf_probe_read_kernel`. If an interrupt came in between, S has moved by the
//! time it is read again ([`is_stable`]): every transition steps S, and a balanced interrupt out of an EQS
//! steps it twice.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_probe_read_kernel as read_kernel};
use rcu_watch_common::config::{CpuState, STATE_BLOCK_BYTES, StateLayout};

use crate::maps::{CPU, layout};

/// M at rest: `DYNTICK_IRQ_NONIDLE`, since 6.0 `CT_NESTING_IRQ_NONIDLE`, LONG_MAX/2 + 1.
pub const NMI_NESTING_REST: u64 = 1 << 62;

/// S, N and M of one CPU, and where they were read.
#[derive(Clone, Copy)]
pub struct Words {
    pub state: u32,
    pub nesting: u64,
    pub nmi_nesting: u64,
    pub cpu_offset: u64,
}

/// Where the running CPU's per-CPU data starts; `None` where this CPU is not watched or that cannot be read.
#[inline(always)]
pub fn watched_cpu() -> Option<u64> {
    let state = CPU.get_ptr_mut(0)?;
    // SAFETY: a map value of this CPU; the verifier holds us to its bounds.
    let CpuState { offset, unwatched } = unsafe { *state };
    if unwatched != 0 {
        return None;
    }
    if offset != 0 {
        return Some(offset);
    }
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let offset = cpu_offset(&layout(), cpu)?;
    // SAFETY: as above.
    unsafe { (*state).offset = offset };
    Some(offset)
}

/// Where `cpu`'s per-CPU data starts.
#[inline(always)]
fn cpu_offset(layout: &StateLayout, cpu: u32) -> Option<u64> {
    // SAFETY: the helper takes any address and fails on one that cannot be read.
    unsafe { read_kernel((layout.per_cpu_offset + u64::from(cpu) * 8) as *const u64) }.ok()
}

/// The words of the CPU whose per-CPU data starts at `offset`.
#[inline(always)]
pub fn words(offset: u64) -> Option<Words> {
    words_at(&layout(), offset)
}

/// The words of another CPU: for calibration and statistics only, since nothing holds it still.
#[inline(always)]
pub fn remote_cpu(cpu: u32) -> Option<Words> {
    let layout = layout();
    words_at(&layout, cpu_offset(&layout, cpu)?)
}

#[inline(always)]
fn words_at(layout: &StateLayout, cpu_offset: u64) -> Option<Words> {
    let mut block = [0u64; STATE_BLOCK_BYTES / 8];
    // SAFETY: writes STATE_BLOCK_BYTES bytes to an array of that size.
    let failed = unsafe {
        bpf_probe_read_kernel(
            block.as_mut_ptr().cast(),
            STATE_BLOCK_BYTES as u32,
            (layout.block + cpu_offset) as *const _,
        )
    };
    if failed != 0 {
        return None;
    }
    let bytes = block.as_ptr().cast::<u8>();
    // SAFETY: the loader only sets offsets within the block, aligned; for the verifier they are constants of
    // a frozen map, and the masks keep them in bounds all the same.
    unsafe {
        Some(Words {
            state: *bytes.add((layout.state_offset & 28) as usize).cast::<u32>(),
            nesting: *bytes.add((layout.nesting_offset & 24) as usize).cast::<u64>(),
            nmi_nesting: *bytes.add((layout.nmi_nesting_offset & 24) as usize).cast::<u64>(),
            cpu_offset,
        })
    }
}

/// Whether S is still what it was.
#[inline(always)]
pub fn is_stable(words: &Words) -> bool {
    let layout = layout();
    let address = layout.block + words.cpu_offset + u64::from(layout.state_offset);
    // SAFETY: as in `cpu_offset`.
    matches!(unsafe { read_kernel(address as *const u32) }, Ok(state) if state == words.state)
}

/// P of the CPU that `words` were read from.
#[inline(always)]
pub fn preempt_count(words: &Words) -> Option<u64> {
    let layout = layout();
    let address = layout.preempt_count + words.cpu_offset;
    // SAFETY: as in `cpu_offset`.
    unsafe {
        if layout.preempt_count_bytes == 8 {
            read_kernel(address as *const u64).ok()
        } else {
            read_kernel(address as *const u32).ok().map(u64::from)
        }
    }
}

/// A word of kernel memory, 0 where it cannot be read.
#[inline(always)]
pub fn kernel_word(address: u64) -> u64 {
    // SAFETY: as in `cpu_offset`.
    unsafe { read_kernel(address as *const u64) }.unwrap_or(0)
}
