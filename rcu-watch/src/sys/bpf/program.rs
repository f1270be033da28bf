//! Loaded programs: which there are, and what the kernel counted of one.

use std::ffi::CStr;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::{bpf_cmd, bpf_prog_info, bpf_prog_type};

use super::call::{Info as _, call_for_fd, ids, info_of, text_of, zeroed};

/// A loaded program of anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedProgram {
    pub id: u32,
    /// A [`bpf_prog_type`], or one that is younger than that list.
    program_type: u32,
    pub name: String,
    /// Runs, over all of its places; 0 unless `kernel.bpf_stats_enabled` was set.
    pub runs: u64,
    /// Runs that the recursion guard skipped. `None` where the kernel does not count them (before 5.12).
    pub misses: Option<u64>,
}

impl LoadedProgram {
    /// A program that has not run.
    #[cfg(test)]
    pub(crate) fn new(id: u32, program_type: bpf_prog_type, name: &str) -> Self {
        Self { id, program_type: program_type as u32, name: name.to_owned(), runs: 0, misses: None }
    }

    #[must_use]
    pub(crate) const fn is(&self, program_type: bpf_prog_type) -> bool {
        self.program_type == program_type as u32
    }
}

/// The kernel's own counters of one program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramCounters {
    /// Nanoseconds; 0 unless `kernel.bpf_stats_enabled` is set.
    pub run_time_ns: u64,
    /// Runs that the recursion guard skipped. `None` where the kernel does not count them (before 5.12).
    pub recursion_misses: Option<u64>,
}

/// Ids of all loaded programs, as far as this process may ask.
#[must_use]
pub(crate) fn program_ids() -> Vec<u32> {
    ids(bpf_cmd::BPF_PROG_GET_NEXT_ID).map_while(Result::ok).collect()
}

/// Opens what is pinned at `path`: a program, a link or a map. Whoever pinned it is not disturbed.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn open_pinned(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    call_for_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// All loaded programs. Those that end meanwhile are left out.
///
/// # Errors
/// That this process may not ask (CAP_BPF and CAP_SYS_ADMIN).
pub(crate) fn programs() -> io::Result<Vec<LoadedProgram>> {
    let mut programs = Vec::new();
    for id in ids(bpf_cmd::BPF_PROG_GET_NEXT_ID) {
        let id = id?;
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
        if let Ok(fd) = call_for_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr) {
            let mut info = bpf_prog_info::zeroed();
            if let Ok(known_bytes) = info_of(fd.as_fd(), &mut info) {
                programs.push(LoadedProgram {
                    id,
                    program_type: info.type_,
                    name: text_of(&info.name),
                    runs: info.run_cnt,
                    misses: counters(&info, known_bytes).recursion_misses,
                });
            }
        }
    }
    Ok(programs)
}

/// What the kernel counted of this program.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn counters_of(program: BorrowedFd<'_>) -> io::Result<ProgramCounters> {
    let mut info = bpf_prog_info::zeroed();
    let known_bytes = info_of(program, &mut info)?;
    Ok(counters(&info, known_bytes))
}

fn counters(info: &bpf_prog_info, known_bytes: usize) -> ProgramCounters {
    let counts_misses = known_bytes >= offset_of!(bpf_prog_info, recursion_misses) + size_of::<u64>();
    ProgramCounters {
        run_time_ns: info.run_time_ns,
        recursion_misses: counts_misses.then_some(info.recursion_misses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_told_only_where_the_kernels_struct_reaches_that_far() {
        let mut info = bpf_prog_info::zeroed();
        (info.run_time_ns, info.recursion_misses) = (7, 3);
        // include/uapi/linux/bpf.h of 5.10 ends with run_cnt.
        let end = offset_of!(bpf_prog_info, recursion_misses);
        assert_eq!(counters(&info, end), ProgramCounters { run_time_ns: 7, recursion_misses: None });
        assert_eq!(counters(&info, size_of::<bpf_prog_info>()).recursion_misses, Some(3));
    }
}
