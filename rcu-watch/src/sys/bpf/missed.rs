//! Runs of loaded programs that the kernel skipped, as it counts them by program and by link.
//!
//! A program's `recursion_misses` are those of the recursion guard; a link's `missed` are those of the kprobe or
//! fprobe below it. The first came in 5.12 for trampolines and in 6.7 for kprobes, the second in 6.7.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya_obj::generated::{bpf_cmd, bpf_link_info, bpf_link_type, bpf_perf_event_type, bpf_prog_info};

use super::call::{Info as _, call_for_fd, ids, info_of, text_of, zeroed};
use super::link::NAME_BYTES;

const PERF_EVENT: u32 = bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32;
const KPROBE_MULTI: u32 = bpf_link_type::BPF_LINK_TYPE_KPROBE_MULTI as u32;
const EVENT_KPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KPROBE as u32;
const EVENT_KRETPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KRETPROBE as u32;

/// Bytes of `bpf_link_info` on kernels that count by link: `missed` of a kprobe ends there, behind the type of the link,
/// its ids, the type of the event and the four other members. That of kprobe.multi, which came with it, lies before,
/// where older kernels have something else's members.
/// Added in: 3acf8ace6823 ("bpf: Add missed value to kprobe perf link info").
const COUNTED_BYTES: usize = offset_of!(bpf_link_info, __bindgen_anon_1) + 8 + 32;

/// What a counter is of, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misses {
    /// Of the program, or of the link.
    pub id: u32,
    /// Its program.
    pub program: u32,
    /// Empty for a link.
    pub name: String,
    /// `None` where this kernel does not count them.
    pub missed: Option<u64>,
}

/// Those of all loaded programs.
///
/// # Errors
/// That this process may not ask.
pub(crate) fn of_programs() -> io::Result<Vec<Misses>> {
    let mut all = Vec::new();
    for id in ids(bpf_cmd::BPF_PROG_GET_NEXT_ID) {
        let id = id?;
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
        let Ok(fd) = call_for_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr) else { continue };
        let mut info = bpf_prog_info::zeroed();
        let Ok(known_bytes) = info_of(fd.as_fd(), &mut info) else { continue };
        let counts = known_bytes >= offset_of!(bpf_prog_info, recursion_misses) + size_of::<u64>();
        let missed = counts.then_some(info.recursion_misses);
        all.push(Misses { id, program: id, name: text_of(&info.name), missed });
    }
    Ok(all)
}

/// Those of all links to kprobes, by perf event or by kprobe.multi. Empty on kernels without links (before 5.7).
///
/// # Errors
/// That this process may not ask.
pub(crate) fn of_kprobe_links() -> io::Result<Vec<Misses>> {
    let mut all = Vec::new();
    for id in ids(bpf_cmd::BPF_LINK_GET_NEXT_ID) {
        let id = match id {
            Ok(id) => id,
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(all),
            Err(e) => return Err(e),
        };
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
        if let Ok(fd) = call_for_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr)
            && let Ok(Some(misses)) = of_link(id, fd.as_fd())
        {
            all.push(misses);
        }
    }
    Ok(all)
}

fn of_link(id: u32, fd: BorrowedFd<'_>) -> io::Result<Option<Misses>> {
    let mut info = bpf_link_info::zeroed();
    let known_bytes = info_of(fd, &mut info)?;
    let missed = match info.type_ {
        PERF_EVENT | KPROBE_MULTI if known_bytes < COUNTED_BYTES => None,
        KPROBE_MULTI => {
            // SAFETY: any bytes are a value of this member, and the type says that it is the one that is meant.
            let multi = unsafe { info.__bindgen_anon_1.kprobe_multi };
            Some(multi.missed)
        }
        PERF_EVENT => match of_kprobe(fd)? {
            Some(missed) => Some(missed),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(Misses { id, program: info.prog_id, name: String::new(), missed }))
}

/// Of the kprobe that the link's event is; `None` where it is another event.
fn of_kprobe(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // Such a link tells nothing of its event unless there is room for its name.
    let mut name = [0_u8; NAME_BYTES];
    let mut info = bpf_link_info::zeroed();
    // SAFETY: plain integers; the name's room outlives the call.
    let event = unsafe { &mut info.__bindgen_anon_1.perf_event };
    event.__bindgen_anon_1.kprobe.func_name = name.as_mut_ptr() as u64;
    event.__bindgen_anon_1.kprobe.name_len = NAME_BYTES as u32;
    info_of(fd, &mut info)?;
    // SAFETY: any bytes are a value of these members.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    // SAFETY: as above; the type says whether it is the kprobe that is meant.
    let kprobe = unsafe { event.__bindgen_anon_1.kprobe };
    Ok(matches!(event.type_, EVENT_KPROBE | EVENT_KRETPROBE).then_some(kprobe.missed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_a_kprobes_link_ends_where_the_kernels_struct_is_taken_to_reach() {
        let info = bpf_link_info::zeroed();
        let start = (&raw const info) as usize;
        // SAFETY: all bytes zero are a value of each member.
        let missed = unsafe { &raw const info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed };
        assert_eq!(missed as usize - start + size_of::<u64>(), COUNTED_BYTES);
        // include/uapi/linux/bpf.h of 6.6 ends with `addr` of a kprobe, 6.7 with `missed`.
        assert_eq!(COUNTED_BYTES, 56);
    }
}
