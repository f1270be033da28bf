//! The watchpoint on S: one perf hardware breakpoint a CPU, each on that CPU's own copy of the word.
//!
//! A breakpoint is a scarce thing (four a CPU, shared with debuggers), so each CPU may be refused on its own; and an
//! event dies with its CPU's going offline, so it can be opened again.

use std::io;
use std::os::fd::AsFd as _;

use aya::programs::PerfEvent;
use rcu_watch_common::slot;
use rcu_watch_core::units::{CpuId, ProbeId};

use super::attach::program;
use super::{BpfError, OwnPrograms, failed};
use crate::sys::breakpoint::Breakpoint;

const PROGRAM: &str = "rcuw_watch_s";

/// The breakpoints, by CPU.
#[derive(Default)]
pub(super) struct Watchpoints {
    events: Vec<(CpuId, Breakpoint)>,
    /// What events that are closed had counted.
    closed: u64,
    /// What was counted before anything of the run was.
    before: u64,
}

impl Watchpoints {
    /// Writes that all events counted in the run.
    pub(super) fn writes(&self) -> u64 {
        self.counted().saturating_sub(self.before)
    }

    fn counted(&self) -> u64 {
        self.closed + self.events.iter().filter_map(|(_, event)| event.count().ok()).sum::<u64>()
    }

    fn close(&mut self, cpu: CpuId) {
        let events = std::mem::take(&mut self.events);
        for (of, event) in events {
            if of == cpu {
                let _ = event.switch(false);
                self.closed += event.count().unwrap_or(0);
            } else {
                self.events.push((of, event));
            }
        }
    }

    /// Takes all breakpoints off.
    pub(super) fn close_all(&mut self) {
        while let Some(&(cpu, _)) = self.events.first() {
            self.close(cpu);
        }
    }

    fn event(&self, cpu: CpuId) -> Option<&Breakpoint> {
        self.events.iter().find(|(of, _)| *of == cpu).map(|(_, event)| event)
    }
}

impl OwnPrograms {
    /// Has the program for watchpoints verified. Nothing is watched yet.
    ///
    /// # Errors
    /// Where the kernel refuses the program.
    pub(crate) fn load_watchpoint(&mut self) -> Result<ProbeId, BpfError> {
        self.watchpoint()?.load().map_err(failed(PROGRAM))?;
        Ok(ProbeId(slot::WATCH_STATE))
    }

    /// Puts a watchpoint on the S of `cpu`, off until [`Self::switch_watchpoint`] unless `enabled`. One that is
    /// there already is replaced.
    ///
    /// # Errors
    /// Where that CPU has no breakpoint left, or is offline.
    pub(crate) fn open_watchpoint(&mut self, cpu: CpuId, enabled: bool) -> Result<(), BpfError> {
        let refused = |source| BpfError::Watchpoint { cpu, reason: reason(&source), source };
        let offset = self.per_cpu_offset(cpu)?;
        let address = self.layout.block.wrapping_add(offset) + u64::from(self.layout.state_offset);
        self.watchpoints.close(cpu);
        let event = Breakpoint::open(cpu.0, address).map_err(refused)?;
        let program = self.watchpoint()?.fd().map_err(failed(PROGRAM))?;
        event.set_program(program.as_fd()).map_err(refused)?;
        if enabled {
            event.switch(true).map_err(refused)?;
        }
        self.watchpoints.events.push((cpu, event));
        Ok(())
    }

    /// The run begins, with all watchpoints off: what they counted was to prove them.
    pub(crate) fn forget_writes(&mut self) {
        self.watchpoints.before = self.watchpoints.counted();
    }

    /// Takes all watchpoints off. Their program must still be counting: a write that only the event sees is missed.
    pub(crate) fn close_watchpoints(&mut self) {
        self.watchpoints.close_all();
    }

    /// Takes the watchpoint off `cpu`; none there is fine.
    pub(crate) fn close_watchpoint(&mut self, cpu: CpuId) {
        self.watchpoints.close(cpu);
    }

    /// Switches the watchpoint of `cpu` on or off; none there is fine.
    ///
    /// # Errors
    /// Where another took the breakpoint meanwhile.
    pub(crate) fn switch_watchpoint(&mut self, cpu: CpuId, on: bool) -> Result<(), BpfError> {
        let Some(event) = self.watchpoints.event(cpu) else { return Ok(()) };
        event.switch(on).map_err(|source| BpfError::Watchpoint { cpu, reason: reason(&source), source })
    }

    fn watchpoint(&mut self) -> Result<&mut PerfEvent, BpfError> {
        program(&mut self.bpf, PROGRAM)
    }
}

/// Whether a CPU has a hardware breakpoint to spare: tried on a word of our own, and never switched on.
///
/// # Errors
/// What stands in the way, in words.
pub(crate) fn try_own(cpu: CpuId) -> Result<(), &'static str> {
    static WORD: u32 = 0;
    Breakpoint::open(cpu.0, (&raw const WORD).addr() as u64).map(drop).map_err(|error| reason(&error))
}

/// What the kernel means.
fn reason(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EBUSY) => {
            "all of its hardware breakpoints are taken; end the debugger or perf that holds them"
        }
        Some(libc::ENODEV | libc::ENXIO) => "it is offline; bring it online",
        Some(libc::EACCES | libc::EPERM) => "this process may not use breakpoints in the kernel; run as root",
        Some(libc::EOPNOTSUPP | libc::ENOENT) => "this machine has no hardware breakpoints for us",
        _ => "the kernel refused it",
    }
}
