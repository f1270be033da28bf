//! The watchpoint on S: one perf hardware breakpoint a CPU, each on that CPU's own copy of the word.
//!
//! The event is opened here and not by aya, which would ask for `precise_ip` 2: with that the kernel lets no
//! program on it that takes a stack. A breakpoint is a scarce thing (four a CPU, shared with debuggers), so each
//! CPU may be refused on its own; and an event dies with its CPU's going offline, so it can be opened again.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use aya::programs::PerfEvent;
use aya_obj::generated::{
    HW_BREAKPOINT_LEN_4, HW_BREAKPOINT_W, PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_type_id,
};
use rcu_watch_common::slot;
use rcu_watch_core::units::{CpuId, ProbeId};

use super::{BpfError, OwnPrograms, failed};

const PROGRAM: &str = "rcuw_watch_s";

// include/uapi/linux/perf_event.h
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// The breakpoints, by CPU.
#[derive(Default)]
pub(super) struct Watchpoints {
    events: Vec<(CpuId, OwnedFd)>,
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
        self.closed + self.events.iter().filter_map(|(_, event)| count(event).ok()).sum::<u64>()
    }

    fn close(&mut self, cpu: CpuId) {
        let events = std::mem::take(&mut self.events);
        for (of, event) in events {
            if of == cpu {
                let _ = control(&event, PERF_EVENT_IOC_DISABLE, 0);
                self.closed += count(&event).unwrap_or(0);
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

    fn event(&self, cpu: CpuId) -> Option<&OwnedFd> {
        self.events.iter().find(|(of, _)| *of == cpu).map(|(_, event)| event)
    }
}

impl OwnPrograms {
    /// Has the program for watchpoints verified. Nothing is watched yet.
    ///
    /// # Errors
    /// Where the kernel refuses the program.
    pub fn load_watchpoint(&mut self) -> Result<ProbeId, BpfError> {
        self.watchpoint()?.load().map_err(failed(PROGRAM))?;
        Ok(ProbeId(slot::WATCH_STATE))
    }

    /// Puts a watchpoint on the S of `cpu`, off until [`Self::switch_watchpoint`] unless `enabled`. One that is
    /// there already is replaced.
    ///
    /// # Errors
    /// Where that CPU has no breakpoint left, or is offline.
    pub fn open_watchpoint(&mut self, cpu: CpuId, enabled: bool) -> Result<(), BpfError> {
        let refused = |source| BpfError::Watchpoint { cpu, reason: reason(&source), source };
        let offset = self.per_cpu_offset(cpu)?;
        let address = self.layout.block.wrapping_add(offset) + u64::from(self.layout.state_offset);
        let program = self.watchpoint()?.fd().map_err(failed(PROGRAM))?.as_fd().as_raw_fd();
        self.watchpoints.close(cpu);
        let event = open(cpu, address).map_err(refused)?;
        control(&event, PERF_EVENT_IOC_SET_BPF, program).map_err(refused)?;
        if enabled {
            switch(&event, true).map_err(refused)?;
        }
        self.watchpoints.events.push((cpu, event));
        Ok(())
    }

    /// The run begins, with all watchpoints off: what they counted was to prove them.
    pub fn forget_writes(&mut self) {
        self.watchpoints.before = self.watchpoints.counted();
    }

    /// Takes all watchpoints off. Their program must still be counting: a write that only the event sees is missed.
    pub fn close_watchpoints(&mut self) {
        self.watchpoints.close_all();
    }

    /// Takes the watchpoint off `cpu`; none there is fine.
    pub fn close_watchpoint(&mut self, cpu: CpuId) {
        self.watchpoints.close(cpu);
    }

    /// Switches the watchpoint of `cpu` on or off; none there is fine.
    ///
    /// # Errors
    /// Where another took the breakpoint meanwhile.
    pub fn switch_watchpoint(&mut self, cpu: CpuId, on: bool) -> Result<(), BpfError> {
        let Some(event) = self.watchpoints.event(cpu) else { return Ok(()) };
        switch(event, on).map_err(|source| BpfError::Watchpoint { cpu, reason: reason(&source), source })
    }

    fn watchpoint(&mut self) -> Result<&mut PerfEvent, BpfError> {
        self.bpf
            .program_mut(PROGRAM)
            .ok_or_else(|| BpfError::Missing(PROGRAM.to_owned()))?
            .try_into()
            .map_err(failed(PROGRAM))
    }
}

/// Whether a CPU has a hardware breakpoint to spare: tried on a word of our own, and never switched on.
///
/// # Errors
/// What stands in the way, in words.
pub fn try_own(cpu: CpuId) -> Result<(), &'static str> {
    static WORD: u32 = 0;
    open(cpu, (&raw const WORD).addr() as u64).map(drop).map_err(|error| reason(&error))
}

fn open(cpu: CpuId, address: u64) -> io::Result<OwnedFd> {
    // SAFETY: plain integers, for which zero is a value.
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.type_ = perf_type_id::PERF_TYPE_BREAKPOINT as u32;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.bp_type = HW_BREAKPOINT_W;
    attr.__bindgen_anon_1.sample_period = 1;
    attr.__bindgen_anon_3.bp_addr = address;
    attr.__bindgen_anon_4.bp_len = u64::from(HW_BREAKPOINT_LEN_4);
    // All or nothing: a breakpoint that takes turns with others would look like a kernel at rest.
    attr.set_pinned(1);
    attr.set_disabled(1);
    let any_task: libc::pid_t = -1;
    let no_group: RawFd = -1;
    // SAFETY: `attr` is a perf_event_attr of the size that it says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            any_task,
            cpu.0 as libc::c_int,
            no_group,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    match RawFd::try_from(fd) {
        // SAFETY: a descriptor that the kernel just gave us, and nobody else knows.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn switch(event: &OwnedFd, on: bool) -> io::Result<()> {
    control(event, if on { PERF_EVENT_IOC_ENABLE } else { PERF_EVENT_IOC_DISABLE }, 0)?;
    // A pinned event that found no room is in an error state: it is enabled without complaint, and reads as
    // the end of a file.
    if on { count(event).map(|_| ()) } else { Ok(()) }
}

fn control(event: &OwnedFd, request: libc::c_ulong, argument: RawFd) -> io::Result<()> {
    // SAFETY: none of these requests takes a pointer.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes that the event counted, whether the program ran for them or not.
fn count(event: &OwnedFd) -> io::Result<u64> {
    let mut value = [0_u8; 8];
    // SAFETY: eight bytes of room, as many as are asked for.
    let read = unsafe { libc::read(event.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
    match read {
        8 => Ok(u64::from_ne_bytes(value)),
        0 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        _ => Err(io::Error::last_os_error()),
    }
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
