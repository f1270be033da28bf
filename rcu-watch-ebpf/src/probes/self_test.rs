//! The program behind `--self-test`: one record that takes the way of every other.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::record::flag;
use rcu_watch_common::slot;

use crate::emit::{Hook, Rest, hit};

/// Hook: none; user space runs it by `BPF_PROG_TEST_RUN`.
/// Sends: one snapshot of this CPU, marked synthetic.
#[raw_tracepoint]
pub(crate) fn rcuw_self_test(ctx: RawTracePointContext) -> i32 {
    hit(ctx.as_ptr(), slot::SELF_TEST, Rest::Never, &Hook { flags: flag::SYNTHETIC, ..Hook::default() });
    0
}
