//! Writes to maps whose values aya does not let a caller write.

use std::io;
use std::os::fd::BorrowedFd;

use aya_obj::generated::bpf_cmd;

use super::call::{call, raw, zeroed};

/// `map[index] = fd`, for a map of descriptors such as a perf event array.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn set_fd(map: BorrowedFd<'_>, index: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
    let value = raw(fd);
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = raw(map);
    attr.__bindgen_anon_2.key = (&raw const index) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}
