//! What the loader learns of this kernel's words before it lets anybody judge by them.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::config::{ANY_CPU, CalibrationSample};

use crate::maps::{CALIBRATION, CALIBRATION_IRQ};
use crate::read::{self, UNREAD, Words};

/// Hook: none; user space runs it by `BPF_PROG_TEST_RUN` with a CPU's number as first argument.
/// Leaves that CPU's words in `CALIBRATION`; returns 0 where they could be read.
#[raw_tracepoint]
pub(crate) fn rcuw_cal_read(ctx: RawTracePointContext) -> i32 {
    let cpu: u64 = ctx.arg(0);
    i32::from(!sample(cpu as u32))
}

/// Hook: `sched_switch`, while calibration lasts, on kernels where no raw tracepoint program can be run by hand.
/// Context: the scheduler, of a task: at rest. Answers the question that user space left in `CALIBRATION`: a count of 0
/// asks for the words of `cpu`, or with `ANY_CPU` of this one. Where they cannot be read the question stays open.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub(crate) fn rcuw_cal_switch(_ctx: RawTracePointContext) -> i32 {
    let Some(question) = CALIBRATION.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value. Two CPUs that answer at once both tell the truth, of the same CPU or of their own.
    let (asked, cpu) = unsafe { ((*question).count == 0, (*question).cpu) };
    if asked {
        let own = cpu == ANY_CPU;
        // SAFETY: no arguments, no side effects.
        let running = unsafe { bpf_get_smp_processor_id() };
        sample(if own { running } else { cpu });
    }
    0
}

/// Leaves the words of `cpu` in `CALIBRATION`; false where they could not be read, or were moving.
#[inline(always)]
fn sample(cpu: u32) -> bool {
    let Some(sample) = CALIBRATION.get_ptr_mut(0) else { return false };
    let mut words = Words::default();
    if !read::remote_words(cpu, &mut words) {
        return false;
    }
    let preempt_count = read::preempt_count(&words);
    if preempt_count == UNREAD || !read::is_stable(&words) {
        return false;
    }
    // SAFETY: a map value; see the callers on who else writes it.
    unsafe {
        *sample = CalibrationSample {
            nesting: words.nesting,
            nmi_nesting: words.nmi_nesting,
            preempt_count,
            cpu_offset: read::cpu_offset(&words),
            state: words.state,
            cpu,
            count: (*sample).count + 1,
            pid: bpf_get_current_pid_tgid() as u32,
        };
    }
    true
}

/// Hook: `local_timer_entry(int vector)`, while calibration lasts.
/// Context: hard irq. Leaves in `CALIBRATION_IRQ` the words of an irq that hit the idle task,
/// of one out of an EQS if there was one.
#[raw_tracepoint(tracepoint = "local_timer_entry")]
pub(crate) fn rcuw_cal_irq(_ctx: RawTracePointContext) -> i32 {
    if bpf_get_current_pid_tgid() as u32 != 0 {
        return 0;
    }
    let Some(sample) = CALIBRATION_IRQ.get_ptr_mut(0) else { return 0 };
    // SAFETY: no arguments, no side effects.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let mut words = Words::default();
    if !read::remote_words(cpu, &mut words) {
        return 0;
    }
    let preempt_count = read::preempt_count(&words);
    if preempt_count == UNREAD {
        return 0;
    }
    // SAFETY: this CPU's map value; the tracepoint's irq does not nest.
    unsafe {
        // M=1, an irq out of an EQS, says more than any other: nothing replaces it.
        if (*sample).count == 0 || (*sample).nmi_nesting != 1 {
            *sample = CalibrationSample {
                nesting: words.nesting,
                nmi_nesting: words.nmi_nesting,
                preempt_count,
                cpu_offset: read::cpu_offset(&words),
                state: words.state,
                cpu,
                count: (*sample).count + 1,
                pid: 0,
            };
        }
    }
    0
}
