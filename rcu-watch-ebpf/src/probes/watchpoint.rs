//! The watchpoint on S: the only thing that sees the transitions of noinstr code.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use rcu_watch_common::slot;

use super::registers::registers;
use crate::emit::{Hook, Rest, hit};

/// Hook: a perf hardware breakpoint on this CPU's S, for writes; runs after the write.
/// Context: #DB, NMI-like, counted by RCU before it gets here: M=1 says that the write turned RCU off.
/// Sends: every write, with the registers of the writer. Cost: two per idle visit, two per irq out of idle.
/// Misses: what NMIs, #MC and #DB write (DR7 is off from their first instructions), and writes while another
/// kprobe, tracepoint or perf program runs on this CPU (`bpf_prog_active`): the event's own count tells.
#[perf_event]
pub(crate) fn rcuw_watch_s(ctx: PerfEventContext) -> u32 {
    let hook = Hook { tracks: true, keeps: true, ..registers(ctx.as_ptr()) };
    hit(ctx.as_ptr(), slot::WATCH_STATE, Rest::Never, &hook);
    0
}
