//! Collects what calibration judges by: words in task context, of other CPUs, and of irqs from idle; and
//! runs the self-test's program.

use std::time::{Duration, Instant};

use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{RawTracePointRunOptions, TestRun as _};
use rcu_watch_common::config::CalibrationSample;

use super::{BpfError, Programs, failed, maps};
use crate::core::units::CpuId;
use crate::kernel::calibrate::Samples;

/// How long an idle CPU is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at the other CPUs. Sleeping is also what lets this CPU go idle.
const PAUSE: Duration = Duration::from_millis(5);

/// How often a CPU that is in the middle of a transition is looked at.
const READS: usize = 100;

const READ: &str = "rcuw_cal_read";
const IRQ: &str = "rcuw_cal_irq";
const SELF_TEST: &str = "rcuw_self_test";

impl Programs {
    /// Reads the words in task context, then waits up to two seconds for an idle CPU (`is_eqs`) to be seen
    /// and for an irq that hit one.
    ///
    /// # Errors
    /// Where the kernel does not let us read at all.
    pub fn sample(
        &mut self,
        cpus: &[CpuId],
        is_eqs: impl Fn(&CalibrationSample) -> bool,
    ) -> Result<Samples, BpfError> {
        self.raw_tracepoint(READ)?.load().map_err(failed(READ))?;
        let mut samples = Samples { task: self.read_cpu(own_cpu()?)?, ..Samples::default() };
        let irq = self.attach_calibration_irq();
        let deadline = Instant::now() + PATIENCE;
        loop {
            std::thread::sleep(PAUSE);
            for &cpu in cpus {
                if samples.idle.is_none() {
                    samples.idle = self.read_cpu(cpu)?.filter(&is_eqs);
                }
            }
            samples.irq = maps::calibration_irqs(&self.bpf)?
                .into_iter()
                .filter(|sample| sample.count > 0)
                .max_by_key(|sample| sample.nmi_nesting == 1);
            let eqs_seen =
                samples.idle.is_some() || samples.irq.is_some_and(|sample| sample.nmi_nesting == 1);
            if eqs_seen && (samples.irq.is_some() || irq.is_err()) || Instant::now() > deadline {
                break;
            }
        }
        if let Ok(link) = irq {
            self.raw_tracepoint(IRQ)?.detach(link).map_err(failed(IRQ))?;
        }
        self.raw_tracepoint(READ)?.unload().map_err(failed(READ))?;
        Ok(samples)
    }

    /// A kernel without this tracepoint can still show an idle CPU to another.
    fn attach_calibration_irq(&mut self) -> Result<RawTracePointLinkId, BpfError> {
        let program = self.raw_tracepoint(IRQ)?;
        program.load().map_err(failed(IRQ))?;
        program.attach("local_timer_entry").map_err(failed(IRQ))
    }

    /// `None` where that CPU was in the middle of a transition.
    fn read_cpu(&mut self, cpu: CpuId) -> Result<Option<CalibrationSample>, BpfError> {
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = u64::from(cpu.0);
        let result = self.raw_tracepoint(READ)?.test_run(options).map_err(failed(READ))?;
        if result.return_value == 0 { maps::calibration(&self.bpf).map(Some) } else { Ok(None) }
    }

    /// `__per_cpu_offset[cpu]`.
    pub(super) fn per_cpu_offset(&mut self, cpu: CpuId) -> Result<u64, BpfError> {
        let unread = || BpfError::Unreadable(cpu);
        if let Some(&(_, offset)) = self.cpu_offsets.iter().find(|(of, _)| *of == cpu) {
            return Ok(offset);
        }
        self.raw_tracepoint(READ)?.load().map_err(failed(READ))?;
        // A CPU in the middle of a transition is read again.
        let read = (0..READS).find_map(|_| self.read_cpu(cpu).transpose()).transpose();
        self.raw_tracepoint(READ)?.unload().map_err(failed(READ))?;
        let offset = read?.ok_or_else(unread)?.cpu_offset;
        self.cpu_offsets.push((cpu, offset));
        Ok(offset)
    }

    /// Sends one synthetic record from `cpu`, the way of every other.
    ///
    /// # Errors
    /// Where the kernel refuses to run it.
    pub fn self_test(&mut self, cpu: CpuId) -> Result<(), BpfError> {
        let program = self.raw_tracepoint(SELF_TEST)?;
        program.load().map_err(failed(SELF_TEST))?;
        let mut options = RawTracePointRunOptions::new();
        options.cpu = Some(cpu.0);
        let run = program.test_run(options).map_err(failed(SELF_TEST));
        program.unload().map_err(failed(SELF_TEST))?;
        run.map(|_| ())
    }
}

fn own_cpu() -> Result<CpuId, BpfError> {
    // SAFETY: no arguments, no memory.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu)
        .map(CpuId)
        .map_err(|_| BpfError::Syscall { call: "sched_getcpu", source: std::io::Error::last_os_error() })
}
