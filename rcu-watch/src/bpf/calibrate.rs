//! Collects what calibration judges by: words in task context, of other CPUs, and of irqs from idle; and
//! runs the self-test's program.
//!
//! Where the kernel runs no raw tracepoint program by hand, a checkpoint reads what is asked for.

use std::time::{Duration, Instant};

use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{ProgramError, RawTracePointRunOptions, TestRun as _};
use nix::sched::sched_getcpu;
use rcu_watch_common::config::{ANY_CPU, CalibrationSample};
use rcu_watch_core::calibration::Samples;
use rcu_watch_core::report::header::Transport;
use rcu_watch_core::units::CpuId;

use super::{BpfError, OwnPrograms, failed, maps};

/// How long an idle CPU is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at the other CPUs. Sleeping is also what lets this CPU go idle.
const PAUSE: Duration = Duration::from_millis(5);

/// How often a CPU that is in the middle of a transition is looked at.
const READS: usize = 100;

const READ: &str = "rcuw_cal_read";
const SWITCH: &str = "rcuw_cal_switch";
const IRQ: &str = "rcuw_cal_irq";
/// Between two looks at the answer of a checkpoint.
const CHECKPOINT_PAUSE: Duration = Duration::from_micros(200);

const SELF_TEST: &str = "rcuw_self_test";

/// How calibration has a CPU's words read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// By a program that it runs by hand.
    TestRun,
    /// At the next checkpoint: raw tracepoint programs can be run by hand since 5.10
    /// (1b4d60ec162f, "bpf: Enable BPF_PROG_TEST_RUN for raw_tracepoint").
    Checkpoint,
}

impl Reads {
    /// Kernels without a ring buffer cannot run these programs by hand either.
    pub(super) const fn of(transport: Transport) -> Self {
        match transport {
            Transport::RingBuffer => Self::TestRun,
            Transport::PerfEventArray => Self::Checkpoint,
        }
    }
}

/// The reading program, ready.
struct Reading(Option<RawTracePointLinkId>);

impl OwnPrograms {
    /// Reads the words in task context, then waits up to two seconds for an idle CPU (`is_eqs`) to be seen
    /// and for an irq that hit one.
    ///
    /// # Errors
    /// Where the kernel does not let us read at all.
    pub(crate) fn sample(
        &mut self,
        cpus: &[CpuId],
        is_eqs: impl Fn(&CalibrationSample) -> bool,
    ) -> Result<Samples, BpfError> {
        let reading = self.start_reading()?;
        let own = if reading.0.is_some() { CpuId(ANY_CPU) } else { own_cpu()? };
        let mut samples = Samples { task: self.read_cpu(own)?, ..Samples::default() };
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
        self.stop_reading(reading)?;
        Ok(samples)
    }

    /// A kernel without this tracepoint can still show an idle CPU to another.
    fn attach_calibration_irq(&mut self) -> Result<RawTracePointLinkId, BpfError> {
        let program = self.raw_tracepoint(IRQ)?;
        program.load().map_err(failed(IRQ))?;
        program.attach("local_timer_entry").map_err(failed(IRQ))
    }

    fn start_reading(&mut self) -> Result<Reading, BpfError> {
        if self.reads == Reads::TestRun {
            self.raw_tracepoint(READ)?.load().map_err(failed(READ))?;
            match self.read_cpu(own_cpu()?) {
                Ok(_) => return Ok(Reading(None)),
                Err(error) if cannot_run(&error) => {
                    self.raw_tracepoint(READ)?.unload().map_err(failed(READ))?;
                    self.reads = Reads::Checkpoint;
                }
                Err(error) => return Err(error),
            }
        }
        // An empty map would be a question for the words of CPU 0.
        maps::ask_no_calibration(&mut self.bpf)?;
        let program = self.raw_tracepoint(SWITCH)?;
        program.load().map_err(failed(SWITCH))?;
        program.attach("sched_switch").map_err(failed(SWITCH)).map(|link| Reading(Some(link)))
    }

    fn stop_reading(&mut self, reading: Reading) -> Result<(), BpfError> {
        let (name, link) = match reading.0 {
            Some(link) => (SWITCH, Some(link)),
            None => (READ, None),
        };
        let program = self.raw_tracepoint(name)?;
        if let Some(link) = link {
            program.detach(link).map_err(failed(name))?;
        }
        program.unload().map_err(failed(name))
    }

    /// `None` where no CPU came by a checkpoint while that CPU stood still.
    fn read_at_checkpoint(&mut self, cpu: CpuId) -> Result<Option<CalibrationSample>, BpfError> {
        maps::ask_calibration(&mut self.bpf, cpu.0)?;
        for _ in 0..READS {
            // Sleeping makes the checkpoint that is waited for.
            std::thread::sleep(CHECKPOINT_PAUSE);
            let answer = maps::calibration(&self.bpf)?;
            if answer.count == 0 {
                continue;
            }
            if cpu.0 == ANY_CPU || answer.cpu == cpu.0 {
                return Ok(Some(answer));
            }
            // Another CPU was still at the question before this one.
            maps::ask_calibration(&mut self.bpf, cpu.0)?;
        }
        Ok(None)
    }

    /// `None` where that CPU was in the middle of a transition.
    fn read_cpu(&mut self, cpu: CpuId) -> Result<Option<CalibrationSample>, BpfError> {
        if self.reads == Reads::Checkpoint {
            return self.read_at_checkpoint(cpu);
        }
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
        let reading = self.start_reading()?;
        // A CPU in the middle of a transition is read again.
        let read = (0..READS).find_map(|_| self.read_cpu(cpu).transpose()).transpose();
        self.stop_reading(reading)?;
        let offset = read?.ok_or_else(unread)?.cpu_offset;
        self.cpu_offsets.push((cpu, offset));
        Ok(offset)
    }

    /// Sends one synthetic record from `cpu`, the way of every other.
    ///
    /// # Errors
    /// Where the kernel refuses to run it.
    pub(crate) fn self_test(&mut self, cpu: CpuId) -> Result<(), BpfError> {
        let program = self.raw_tracepoint(SELF_TEST)?;
        program.load().map_err(failed(SELF_TEST))?;
        let mut options = RawTracePointRunOptions::new();
        options.cpu = Some(cpu.0);
        let run = program.test_run(options).map_err(failed(SELF_TEST));
        program.unload().map_err(failed(SELF_TEST))?;
        run.map(|_| ())
    }
}

/// Whether the kernel has no way to run such a program by hand.
fn cannot_run(error: &BpfError) -> bool {
    /// `ENOTSUPP` of include/linux/errno.h, which kernels before 5.10 let through.
    const ENOTSUPP: i32 = 524;
    let BpfError::Program { source: ProgramError::SyscallError(call), .. } = error else { return false };
    matches!(call.io_error.raw_os_error(), Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL))
}

fn own_cpu() -> Result<CpuId, BpfError> {
    let cpu =
        sched_getcpu().map_err(|error| BpfError::Syscall { call: "sched_getcpu", source: error.into() })?;
    Ok(CpuId(cpu as u32))
}
