//! What loaded programs sit on, as links tell it, and descriptors of kprobes where there are no links.
//!
//! Where a kernel does not tell, the answer is empty or 0, as its own answer is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya_obj::generated::{bpf_cmd, bpf_link_info, bpf_link_type, bpf_perf_event_type, bpf_task_fd_type};

use super::call::{Info as _, call, call_for_fd, ids, info_of, text, zeroed};

const TRACING: u32 = bpf_link_type::BPF_LINK_TYPE_TRACING as u32;
const PERF_EVENT: u32 = bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32;
const KPROBE_MULTI: u32 = bpf_link_type::BPF_LINK_TYPE_KPROBE_MULTI as u32;
const EVENT_UNTOLD: u32 = bpf_perf_event_type::BPF_PERF_EVENT_UNSPEC as u32;
const EVENT_KPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KPROBE as u32;
const EVENT_KRETPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KRETPROBE as u32;
const HELD_KPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_KPROBE as u32;
const HELD_KRETPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_KRETPROBE as u32;

/// Room for a symbol's name: KSYM_NAME_LEN was 128 up to 6.0, and a longer name is cut.
pub(super) const NAME_BYTES: usize = 128;
/// Functions of one kprobe.multi link that are looked at.
const MULTI_MAX: usize = 4096;

/// A link, as far as attribution needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub program: u32,
    pub on: LinkedTo,
}

/// What a link's program sits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkedTo {
    /// fentry, fexit, fmod_ret, LSM: 0 on kernels that do not tell.
    Function {
        /// BTF id of the function, among the types of `object`.
        target: u32,
        object: u32,
    },
    /// A kprobe by perf event; empty on kernels that do not tell (before 6.7).
    Kprobe {
        symbol: String,
        offset: u64,
        address: u64,
    },
    Kprobes {
        addresses: Vec<u64>,
    },
    Other,
}

/// All links. Empty on kernels without (before 5.7).
///
/// # Errors
/// That this process may not ask (CAP_SYS_ADMIN).
pub(crate) fn links() -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    for id in ids(bpf_cmd::BPF_LINK_GET_NEXT_ID) {
        let id = match id {
            Ok(id) => id,
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(links),
            Err(e) => return Err(e),
        };
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
        if let Ok(fd) = call_for_fd(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr)
            && let Ok(link) = link_of(fd.as_fd())
        {
            links.push(link);
        }
    }
    Ok(links)
}

fn link_of(fd: BorrowedFd<'_>) -> io::Result<Link> {
    let mut info = bpf_link_info::zeroed();
    info_of(fd, &mut info)?;
    let on = match info.type_ {
        TRACING => {
            // SAFETY: any bytes are a value of this member, and the type says that it is the one that is meant.
            let tracing = unsafe { info.__bindgen_anon_1.tracing };
            LinkedTo::Function { object: tracing.target_obj_id, target: tracing.target_btf_id }
        }
        PERF_EVENT => on_perf_event(fd),
        KPROBE_MULTI => LinkedTo::Kprobes { addresses: multi_addresses(fd).unwrap_or_default() },
        _ => LinkedTo::Other,
    };
    Ok(Link { program: info.prog_id, on })
}

fn on_perf_event(fd: BorrowedFd<'_>) -> LinkedTo {
    let mut name = [0_u8; NAME_BYTES];
    let mut info = bpf_link_info::zeroed();
    // SAFETY: plain integers; the name's room outlives the call.
    let event = unsafe { &mut info.__bindgen_anon_1.perf_event };
    event.__bindgen_anon_1.kprobe.func_name = name.as_mut_ptr() as u64;
    event.__bindgen_anon_1.kprobe.name_len = NAME_BYTES as u32;
    // A kernel that does not know these members refuses them, or leaves the type of event at 0.
    let told = info_of(fd, &mut info).map(|_| {
        // SAFETY: any bytes are a value of these members; the type says whether it is the kprobe that is meant.
        let event = unsafe { info.__bindgen_anon_1.perf_event };
        // SAFETY: as above.
        (event.type_, unsafe { event.__bindgen_anon_1.kprobe })
    });
    match told {
        Ok((EVENT_KPROBE | EVENT_KRETPROBE, kprobe)) => {
            LinkedTo::Kprobe { symbol: text(&name), offset: u64::from(kprobe.offset), address: kprobe.addr }
        }
        Ok((EVENT_UNTOLD, _)) | Err(_) => LinkedTo::Kprobe { symbol: String::new(), offset: 0, address: 0 },
        Ok(_) => LinkedTo::Other,
    }
}

fn multi_addresses(fd: BorrowedFd<'_>) -> io::Result<Vec<u64>> {
    let mut addresses = vec![0_u64; MULTI_MAX];
    let mut info = bpf_link_info::zeroed();
    info.__bindgen_anon_1.kprobe_multi.addrs = addresses.as_mut_ptr() as u64;
    info.__bindgen_anon_1.kprobe_multi.count = MULTI_MAX as u32;
    match info_of(fd, &mut info) {
        Ok(_) => {}
        // More functions than there was room for: the first of them were written.
        Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {}
        Err(e) => return Err(e),
    }
    addresses.retain(|&address| address != 0);
    Ok(addresses)
}

/// A kprobe that some process holds as a perf event with a BPF program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldKprobe {
    pub program: u32,
    /// Empty for a kprobe by address.
    pub symbol: String,
    pub offset: u64,
    /// 0 for a kprobe by symbol.
    pub address: u64,
}

/// The kprobe that descriptor `fd` of process `pid` holds.
///
/// # Errors
/// That it holds none, or that this process may not ask.
pub(crate) fn kprobe_of(pid: u32, fd: u32) -> io::Result<HeldKprobe> {
    let mut name = [0_u8; NAME_BYTES];
    let mut attr = zeroed();
    attr.task_fd_query.pid = pid;
    attr.task_fd_query.fd = fd;
    attr.task_fd_query.buf_len = NAME_BYTES as u32;
    attr.task_fd_query.buf = name.as_mut_ptr() as u64;
    call(bpf_cmd::BPF_TASK_FD_QUERY, &mut attr)?;
    // SAFETY: the kernel has filled in the rest of the member that was asked with.
    let held = unsafe { attr.task_fd_query };
    match held.fd_type {
        HELD_KPROBE | HELD_KRETPROBE => Ok(HeldKprobe {
            program: held.prog_id,
            symbol: text(&name),
            offset: held.probe_offset,
            address: held.probe_addr,
        }),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTSUP)),
    }
}
