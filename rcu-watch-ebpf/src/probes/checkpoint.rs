//! The checkpoint: at a context switch every counter is at rest, or something leaked.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::slot;

use crate::emit::hit_of_task;

/// Hook: `sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...)`.
/// Context: the scheduler, interrupts off; does not nest.
/// Sends: snapshots that are not W=1, N=1, M at rest. Cost: one read of the state block.
/// Misses: nothing on the CPUs that switch; a CPU that never switches is never checked.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn rcuw_checkpoint(ctx: RawTracePointContext) -> i32 {
    hit_of_task(ctx.as_ptr(), slot::CHECKPOINT, 0);
    0
}
