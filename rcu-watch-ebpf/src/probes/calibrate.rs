//! What the loader learns of this kernel's words before it lets anybody judge by them.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use rcu_watch_common::config::CalibrationSample;

use crate::maps::{CALIBRATION, CALIBRATION_IRQ};
use crate::read::{self, UNREAD, Words};

/// Hook: none; user space runs it by `BPF_PROG_TEST_RUN` with a CPU's number as first argument.
/// Leaves that CPU's words in `CALIBRATION`; returns 0 where they could be read.
#[raw_tracepoint]
pub fn rcuw_cal_read(ctx: RawTracePointContext) -> i32 {
    let cpu: u64 = ctx.arg(0);
    let Some(sample) = CALIBRATION.get_ptr_mut(0) else { return 1 };
    let mut words = Words::default();
    if !read::remote_words(cpu as u32, &mut words) {
        return 2;
    }
    let preempt_count = read::preempt_count(&words);
    if preempt_count == UNREAD || !read::is_stable(&words) {
        return 3;
    }
    // SAFETY: a map value; user space runs one of these at a time.
    unsafe {
        *sample = CalibrationSample {
            nesting: words.nesting,
            nmi_nesting: words.nmi_nesting,
            preempt_count,
            cpu_offset: words.cpu_offset,
            state: words.state,
            cpu: cpu as u32,
            count: (*sample).count + 1,
            pid: bpf_get_current_pid_tgid() as u32,
        };
    }
    0
}

/// Hook: `local_timer_entry(int vector)`, while calibration lasts.
/// Context: hard irq. Leaves in `CALIBRATION_IRQ` the words of an irq that hit the idle task,
/// of one out of an EQS if there was one.
#[raw_tracepoint(tracepoint = "local_timer_entry")]
pub fn rcuw_cal_irq(_ctx: RawTracePointContext) -> i32 {
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
                cpu_offset: words.cpu_offset,
                state: words.state,
                cpu,
                count: (*sample).count + 1,
                pid: 0,
            };
        }
    }
    0
}
