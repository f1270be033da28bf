//! NMIs: RCU must have been told of every one.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::slot;

use crate::emit::{Hook, Rest, hit};

/// Hook: `nmi_handler(void *handler, s64 delta_ns, int handled)`.
/// Context: NMI, after each registered handler ran; does not nest.
/// Sends: NMIs that the counters do not show as one. Cost: one read of the state block, one of P.
/// Misses: NMIs before their first and after their last handler.
#[raw_tracepoint(tracepoint = "nmi_handler")]
pub(crate) fn rcuw_nmi(ctx: RawTracePointContext) -> i32 {
    let handler: u64 = ctx.arg(0);
    hit(ctx.as_ptr(), slot::NMI, Rest::Counted, &Hook { arg: handler, ..Hook::default() });
    0
}
