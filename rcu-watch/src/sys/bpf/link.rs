//! What loaded programs sit on, as links tell it, and descriptors of kprobes where there are no links.
//!
//! Where a kernel does not tell, the answer is empty or 0, as its own answer is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use aya_obj::generated::{
    bpf_attach_type, bpf_cmd, bpf_link_info, bpf_link_type, bpf_perf_event_type, bpf_task_fd_type,
};

use super::call::{Info as _, call, call_for_fd, ids, info_of, text, zeroed};

const RAW_TRACEPOINT: u32 = bpf_link_type::BPF_LINK_TYPE_RAW_TRACEPOINT as u32;
const TRACING: u32 = bpf_link_type::BPF_LINK_TYPE_TRACING as u32;
const PERF_EVENT: u32 = bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32;
const KPROBE_MULTI: u32 = bpf_link_type::BPF_LINK_TYPE_KPROBE_MULTI as u32;
const UPROBE_MULTI: u32 = bpf_link_type::BPF_LINK_TYPE_UPROBE_MULTI as u32;
const EVENT_UNTOLD: u32 = bpf_perf_event_type::BPF_PERF_EVENT_UNSPEC as u32;
const EVENT_UPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_UPROBE as u32;
const EVENT_URETPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_URETPROBE as u32;
const EVENT_KPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KPROBE as u32;
const EVENT_KRETPROBE: u32 = bpf_perf_event_type::BPF_PERF_EVENT_KRETPROBE as u32;
const EVENT_TRACEPOINT: u32 = bpf_perf_event_type::BPF_PERF_EVENT_TRACEPOINT as u32;
const HELD_TRACEPOINT: u32 = bpf_task_fd_type::BPF_FD_TYPE_TRACEPOINT as u32;
const HELD_KPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_KPROBE as u32;
const HELD_KRETPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_KRETPROBE as u32;
const HELD_UPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_UPROBE as u32;
const HELD_URETPROBE: u32 = bpf_task_fd_type::BPF_FD_TYPE_URETPROBE as u32;
const FEXIT: u32 = bpf_attach_type::BPF_TRACE_FEXIT as u32;
const MODIFY_RETURN: u32 = bpf_attach_type::BPF_MODIFY_RETURN as u32;
/// include/uapi/linux/bpf.h: a kprobe.multi link on returns.
const MULTI_RETURN: u32 = 1;

/// Room for a symbol's name: KSYM_NAME_LEN was 128 up to 6.0, and a longer name is cut.
pub(super) const NAME_BYTES: usize = 128;
/// Functions of one kprobe.multi link that are looked at.
const MULTI_MAX: usize = 1 << 16;
/// Nothing counts that far: a kernel that does not know the member leaves it as it was given.
const UNTOUCHED: u64 = u64::MAX;

/// A link, as far as attribution needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// 0 for a program that sits there by no link.
    pub id: u32,
    pub program: u32,
    pub on: LinkedTo,
    /// Runs that its kprobe or fprobe skipped, where the kernel tells (6.7).
    pub missed: Option<u64>,
}

/// What a link's program sits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkedTo {
    /// fentry, fexit, fmod_ret, LSM: 0 on kernels that do not tell.
    Function {
        /// BTF id of the function, among the types of `object`.
        target: u32,
        object: u32,
        at: Trampoline,
    },
    /// A kprobe by perf event; empty on kernels that do not tell (before 6.7).
    Kprobe {
        symbol: String,
        offset: u64,
        address: u64,
        is_return: bool,
    },
    Kprobes {
        addresses: Vec<u64>,
        is_return: bool,
    },
    /// With the tracepoint's raw arguments.
    RawTracepoint(String),
    /// By a perf event.
    Tracepoint(String),
    Uprobe,
    Other,
}

/// Which of its programs a trampoline calls when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trampoline {
    Entry,
    Exit,
    ModifyReturn,
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
    let (on, missed) = match info.type_ {
        TRACING => {
            // SAFETY: any bytes are a value of this member, and the type says that it is the one that is meant.
            let tracing = unsafe { info.__bindgen_anon_1.tracing };
            let at = match tracing.attach_type {
                FEXIT => Trampoline::Exit,
                MODIFY_RETURN => Trampoline::ModifyReturn,
                _ => Trampoline::Entry,
            };
            let (object, target) = (tracing.target_obj_id, tracing.target_btf_id);
            (LinkedTo::Function { target, object, at }, None)
        }
        PERF_EVENT => on_perf_event(fd),
        KPROBE_MULTI => on_kprobes(fd),
        RAW_TRACEPOINT => (LinkedTo::RawTracepoint(raw_tracepoint(fd)), None),
        UPROBE_MULTI => (LinkedTo::Uprobe, None),
        _ => (LinkedTo::Other, None),
    };
    Ok(Link { id: info.id, program: info.prog_id, on, missed })
}

fn raw_tracepoint(fd: BorrowedFd<'_>) -> String {
    let mut name = [0_u8; NAME_BYTES];
    let mut info = bpf_link_info::zeroed();
    info.__bindgen_anon_1.raw_tracepoint.tp_name = name.as_mut_ptr() as u64;
    info.__bindgen_anon_1.raw_tracepoint.tp_name_len = NAME_BYTES as u32;
    info_of(fd, &mut info).map(|_| text(&name)).unwrap_or_default()
}

fn on_perf_event(fd: BorrowedFd<'_>) -> (LinkedTo, Option<u64>) {
    let mut name = [0_u8; NAME_BYTES];
    let mut info = bpf_link_info::zeroed();
    // A kernel that does not know these members refuses them, or leaves the type of event at 0.
    let mut told = Err(io::ErrorKind::Other.into());
    for missed in [UNTOUCHED, 0] {
        info = bpf_link_info::zeroed();
        // SAFETY: plain integers; the name's room outlives the call.
        let event = unsafe { &mut info.__bindgen_anon_1.perf_event };
        event.__bindgen_anon_1.kprobe.func_name = name.as_mut_ptr() as u64;
        event.__bindgen_anon_1.kprobe.name_len = NAME_BYTES as u32;
        event.__bindgen_anon_1.kprobe.missed = missed;
        told = info_of(fd, &mut info).map(|_| missed);
        if told.is_ok() {
            break;
        }
    }
    let Ok(given) = told else { return (untold_kprobe(), None) };
    // SAFETY: any bytes are a value of these members; the type says whether it is the kprobe that is meant.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    // SAFETY: as above.
    let kprobe = unsafe { event.__bindgen_anon_1.kprobe };
    match event.type_ {
        EVENT_KPROBE | EVENT_KRETPROBE => {
            let is_return = event.type_ == EVENT_KRETPROBE;
            let offset = u64::from(kprobe.offset);
            let missed = (given == UNTOUCHED && kprobe.missed != UNTOUCHED).then_some(kprobe.missed);
            (LinkedTo::Kprobe { symbol: text(&name), offset, address: kprobe.addr, is_return }, missed)
        }
        EVENT_UNTOLD => (untold_kprobe(), None),
        EVENT_TRACEPOINT => (LinkedTo::Tracepoint(text(&name)), None),
        EVENT_UPROBE | EVENT_URETPROBE => (LinkedTo::Uprobe, None),
        _ => (LinkedTo::Other, None),
    }
}

const fn untold_kprobe() -> LinkedTo {
    LinkedTo::Kprobe { symbol: String::new(), offset: 0, address: 0, is_return: false }
}

fn on_kprobes(fd: BorrowedFd<'_>) -> (LinkedTo, Option<u64>) {
    let mut addresses = vec![0_u64; MULTI_MAX];
    let mut info = bpf_link_info::zeroed();
    let mut given = UNTOUCHED;
    for missed in [UNTOUCHED, 0] {
        given = missed;
        info = bpf_link_info::zeroed();
        info.__bindgen_anon_1.kprobe_multi.addrs = addresses.as_mut_ptr() as u64;
        info.__bindgen_anon_1.kprobe_multi.count = MULTI_MAX as u32;
        info.__bindgen_anon_1.kprobe_multi.missed = missed;
        // With more functions than there was room for, the first of them were written (ENOSPC).
        if info_of(fd, &mut info).is_ok() || addresses[0] != 0 {
            break;
        }
    }
    addresses.retain(|&address| address != 0);
    // SAFETY: any bytes are a value of this member, and it is the one that was asked with.
    let multi = unsafe { info.__bindgen_anon_1.kprobe_multi };
    let missed = (given == UNTOUCHED && multi.missed != UNTOUCHED).then_some(multi.missed);
    (LinkedTo::Kprobes { addresses, is_return: multi.flags & MULTI_RETURN != 0 }, missed)
}

/// What descriptor `fd` of process `pid` holds: a perf event with a BPF program on it.
///
/// # Errors
/// That it holds none, or that this process may not ask.
pub(crate) fn held(pid: u32, fd: u32) -> io::Result<Link> {
    let mut name = [0_u8; NAME_BYTES];
    let mut attr = zeroed();
    attr.task_fd_query.pid = pid;
    attr.task_fd_query.fd = fd;
    attr.task_fd_query.buf_len = NAME_BYTES as u32;
    attr.task_fd_query.buf = name.as_mut_ptr() as u64;
    call(bpf_cmd::BPF_TASK_FD_QUERY, &mut attr)?;
    // SAFETY: the kernel has filled in the rest of the member that was asked with.
    let held = unsafe { attr.task_fd_query };
    let on = match held.fd_type {
        // A symbol is empty for a kprobe by address, and the address 0 for one by symbol.
        HELD_KPROBE | HELD_KRETPROBE => LinkedTo::Kprobe {
            symbol: text(&name),
            offset: held.probe_offset,
            address: held.probe_addr,
            is_return: held.fd_type == HELD_KRETPROBE,
        },
        HELD_TRACEPOINT => LinkedTo::Tracepoint(text(&name)),
        HELD_UPROBE | HELD_URETPROBE => LinkedTo::Uprobe,
        _ => return Err(io::Error::from_raw_os_error(libc::ENOTSUP)),
    };
    Ok(Link { id: 0, program: held.prog_id, on, missed: None })
}
