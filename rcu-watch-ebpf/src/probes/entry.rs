//! The first functions behind NMI and exception entry that can be hooked: the entry itself is noinstr.

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use rcu_watch_common::slot;

use super::registers::interrupted;
use crate::emit::{Hook, Rest, hit};

/// The part that the handlers of NMIs share: their second argument holds the interrupted registers.
#[inline(always)]
fn nmi(ctx: &FEntryContext, probe: u32) {
    let hook = interrupted(ctx.arg::<*const c_void>(1));
    hit(ctx.as_ptr(), probe, Rest::CountedOnKernel, &hook);
}

/// Hook: `int perf_event_nmi_handler(unsigned int cmd, struct pt_regs *regs)`.
/// Context: NMI of the PMU; does not nest.
/// Sends: NMIs that were not counted, and those out of an EQS, with what they interrupted.
/// Cost: one read of the state block, of P and of the registers. Misses: NMIs that another handler took before.
#[fentry]
pub(crate) fn rcuw_nmi_perf(ctx: FEntryContext) -> i32 {
    nmi(&ctx, slot::NMI_PERF);
    0
}

/// Hook: `int nmi_cpu_backtrace_handler(unsigned int cmd, struct pt_regs *regs)`.
/// Context: NMI, of any source: it is asked about each; does not nest.
/// Sends, cost, misses: as `rcuw_nmi_perf`.
#[fentry]
pub(crate) fn rcuw_nmi_backtrace(ctx: FEntryContext) -> i32 {
    nmi(&ctx, slot::NMI_BACKTRACE);
    0
}

/// Hook: `int kprobe_int3_handler(struct pt_regs *regs)`.
/// Context: #BP, NMI-like where it came from the kernel, a task's where from user mode.
/// Sends: what was not counted as NMI-like. Cost: one read of the state block, one of P.
/// Misses: int3 of text patching, which is taken before, and what hits while this runs.
#[fentry]
pub(crate) fn rcuw_int3(ctx: FEntryContext) -> i32 {
    hit(ctx.as_ptr(), slot::BREAKPOINT, Rest::Counted, &Hook::default());
    0
}

/// Hook: `int hw_breakpoint_exceptions_notify(struct notifier_block *, unsigned long val, void *data)`.
/// Context: #DB, NMI-like where it came from the kernel, a task's where from user mode.
/// Sends, cost, misses: as `rcuw_int3`.
#[fentry]
pub(crate) fn rcuw_debug(ctx: FEntryContext) -> i32 {
    hit(ctx.as_ptr(), slot::DEBUG, Rest::Counted, &Hook::default());
    0
}
