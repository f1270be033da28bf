//! The edges of idle that can be hooked on every kernel: the last point before the EQS and the first after
//! it where RCU watches.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::slot;

use crate::emit::hit_of_task;

/// `PWR_EVENT_EXIT` of include/trace/events/power.h: (u32)-1.
const EXIT: u32 = u32::MAX;

/// Hook: `cpu_idle(unsigned int state, unsigned int cpu_id)`.
/// Context: the idle task; does not nest.
/// Sends: snapshots that are not W=1, N=1, M at rest. Cost: one read of the state block.
/// Misses: the EQS itself, which lies between the two.
#[raw_tracepoint(tracepoint = "cpu_idle")]
pub(crate) fn rcuw_cpu_idle(ctx: RawTracePointContext) -> i32 {
    let state: u64 = ctx.arg(0);
    let probe = if state as u32 == EXIT { slot::EQS_EXIT } else { slot::EQS_ENTER };
    hit_of_task(ctx.as_ptr(), probe, u64::from(state as u32));
    0
}
