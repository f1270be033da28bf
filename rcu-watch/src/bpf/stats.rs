//! What is counted of our programs: the books by the programs themselves; by the kernel, the runs that its
//! recursion guard skipped, and run time.

use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use rcu_watch_common::counter::ProbeCounters;

use super::{BpfError, Programs, failed, maps};
use crate::core::units::{CpuId, ProbeId};

/// The kernel's own counters of one program.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgramStats {
    /// Runs that the recursion guard skipped. Before 5.12, and for kprobes before about 6.7, nobody counts them.
    pub missed: u64,
    /// Nanoseconds; 0 unless `kernel.bpf_stats_enabled` is set.
    pub run_time_ns: u64,
}

impl Programs {
    /// The books of one probe, by CPU.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn counters(&self, probe: ProbeId) -> Result<Vec<(CpuId, ProbeCounters)>, BpfError> {
        maps::counters(&self.bpf, probe)
    }

    /// The kernel's counters of the program behind `probe`.
    ///
    /// # Errors
    /// Where the kernel does not give them.
    pub fn stats(&self, probe: ProbeId) -> Result<ProgramStats, BpfError> {
        let Some(attached) = self.attached.iter().find(|attached| attached.probe == probe) else {
            return Ok(ProgramStats::default());
        };
        let name = &attached.program;
        let program = self.bpf.program(name).ok_or_else(|| BpfError::Missing(name.clone()))?;
        let info = program_info(program.fd().map_err(failed(name))?.as_fd().as_raw_fd())?;
        Ok(ProgramStats { missed: info.recursion_misses, run_time_ns: info.run_time_ns })
    }
}

fn program_info(fd: RawFd) -> Result<bpf_prog_info, BpfError> {
    // SAFETY: plain integers and arrays of them, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = fd.cast_unsigned();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    // SAFETY: `attr` is a bpf_attr of the size given; the kernel writes at most `info_len` bytes to `info`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<bpf_attr>())
    };
    if result == 0 {
        Ok(info)
    } else {
        let source = std::io::Error::last_os_error();
        Err(BpfError::Syscall { call: "bpf(BPF_OBJ_GET_INFO_BY_FD)", source })
    }
}
