//! Words of kernel memory for user space, which asks by address and runs the program by hand.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::peek::{PeekWords, WORDS_MAX};

/// The question and, after a run, the answer.
#[map]
pub(crate) static PEEK: Array<PeekWords> = Array::with_max_entries(1, 0);

/// Hook: none; user space runs it by `BPF_PROG_TEST_RUN`.
/// Reads the words that `PEEK` has the addresses of, in their order. A word that cannot be read is marked, and the
/// others are read all the same.
#[raw_tracepoint]
pub(crate) fn rcuw_peek(_ctx: RawTracePointContext) -> i32 {
    let Some(words) = PEEK.get_ptr_mut(0) else { return 0 };
    let mut asked = 0;
    // A constant bound: the verifier of 5.10 walks each round. An index would be checked against the array's bounds,
    // and a panic cannot be verified.
    while asked < WORDS_MAX {
        // SAFETY: a map value, and an index within its arrays. Only user space, which waits, writes the addresses; the
        // helper writes eight bytes, or zeroes where the address cannot be read, and says so.
        unsafe {
            let address = ptr::read_volatile((&raw const (*words).addresses).cast::<u64>().add(asked));
            if address == 0 {
                break;
            }
            let value = (&raw mut (*words).values).cast::<u64>().add(asked);
            let failed = bpf_probe_read_kernel(value.cast(), 8, address as *const _) != 0;
            *(&raw mut (*words).failed).cast::<u8>().add(asked) = u8::from(failed);
        }
        asked += 1;
    }
    asked as i32
}
