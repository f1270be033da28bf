//! The few `bpf(2)` calls that aya does not offer: trial loads, and who else has programs.
//!
//! Attributes are built as zeroed words, as the kernel wants them: include/uapi/linux/bpf.h, `union bpf_attr`.
//! Trial programs are `r0 = 0; exit`, closed again at once and attached to nothing.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

mod command {
    pub(super) const MAP_CREATE: u32 = 0;
    pub(super) const PROG_LOAD: u32 = 5;
    pub(super) const PROG_GET_NEXT_ID: u32 = 11;
    pub(super) const PROG_GET_FD_BY_ID: u32 = 13;
    pub(super) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(super) const TASK_FD_QUERY: u32 = 20;
    pub(super) const LINK_GET_FD_BY_ID: u32 = 30;
    pub(super) const LINK_GET_NEXT_ID: u32 = 31;
}

/// `enum bpf_prog_type`, those that are of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProgramKind {
    Kprobe = 2,
    PerfEvent = 7,
    RawTracepoint = 17,
    Tracing = 26,
}

/// `BPF_TRACE_FENTRY` of `enum bpf_attach_type`.
const TRACE_FENTRY: u32 = 24;
/// `BPF_MAP_TYPE_PERF_EVENT_ARRAY` of `enum bpf_map_type`.
const PERF_EVENT_ARRAY: u32 = 4;
/// `BPF_MAP_TYPE_RINGBUF` of `enum bpf_map_type`.
const RING_BUFFER: u32 = 27;

/// `union bpf_attr` as the offsets of its members see it.
struct Attr([u8; 144]);

impl Attr {
    const fn new() -> Self {
        Self([0; 144])
    }

    fn u32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// `size` must not pass the members in use: an older kernel refuses what it does not know unless it is zero.
    fn call(&mut self, command: u32, size: usize) -> io::Result<i32> {
        // SAFETY: `self` outlives the call and is at least `size` bytes of initialised memory; every address
        // inside it was taken from a buffer that its caller keeps until the call is over.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size) };
        i32::try_from(result).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)
    }

    fn call_for_fd(&mut self, command: u32, size: usize) -> io::Result<OwnedFd> {
        let fd = self.call(command, size)?;
        // SAFETY: these commands return a new descriptor that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Creates the smallest ring buffer and drops it.
///
/// # Errors
/// The kernel's refusal.
pub fn try_ring_buffer() -> io::Result<()> {
    // SAFETY: sysconf has no memory arguments.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u32::try_from(page).map_err(io::Error::other)?;
    Attr::new().u32(0, RING_BUFFER).u32(12, page).call_for_fd(command::MAP_CREATE, 72).map(drop)
}

/// Creates the smallest perf event array and drops it.
///
/// # Errors
/// The kernel's refusal.
pub fn try_perf_event_array() -> io::Result<()> {
    Attr::new()
        .u32(0, PERF_EVENT_ARRAY)
        .u32(4, 4)
        .u32(8, 4)
        .u32(12, 1)
        .call_for_fd(command::MAP_CREATE, 28)
        .map(drop)
}

/// Loads the smallest program of this kind and drops it. `target` is the BTF id of the function that a
/// tracing program is for.
///
/// # Errors
/// The kernel's refusal.
pub fn try_program(kind: ProgramKind, target: Option<u32>) -> io::Result<()> {
    // BPF_MOV64_IMM(r0, 0); BPF_EXIT_INSN()
    let program: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut attr = Attr::new()
        .u32(0, kind as u32)
        .u32(4, 2)
        .u64(8, program.as_ptr() as u64)
        .u64(16, license.as_ptr() as u64);
    // Up to `prog_flags` every kernel with these program types knows the members.
    let mut size = 48;
    if let Some(target) = target {
        attr = attr.u32(68, TRACE_FENTRY).u32(108, target);
        size = 112;
    }
    attr.call_for_fd(command::PROG_LOAD, size).map(drop)
}

/// A loaded program, as far as attribution needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    pub id: u32,
    pub kind: u32,
    pub name: String,
    /// BTF id of the traced function; 0 on kernels before 5.17, which do not tell.
    pub target: u32,
    /// The BTF object that `target` is in; the kernel's own has the id 1, modules others.
    pub target_object: u32,
}

/// A link, as far as attribution needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub program: u32,
    pub on: LinkedTo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkedTo {
    /// fentry, fexit, fmod_ret, LSM: 0 on kernels that do not tell.
    Function {
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

/// `enum bpf_link_type` and `enum bpf_perf_event_type`.
mod link {
    pub(super) const TRACING: u32 = 2;
    pub(super) const PERF_EVENT: u32 = 7;
    pub(super) const KPROBE_MULTI: u32 = 8;
    pub(super) const PERF_KPROBE: u32 = 3;
    pub(super) const PERF_KRETPROBE: u32 = 4;
}

fn ids(command: u32) -> impl Iterator<Item = io::Result<u32>> {
    let mut last = 0;
    std::iter::from_fn(move || {
        let mut attr = Attr::new().u32(0, last);
        match attr.call(command, 12) {
            Ok(_) => {
                last = attr.word(4);
                Some(Ok(last))
            }
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => None,
            Err(e) => {
                // The same refusal would come for ever.
                last = u32::MAX;
                Some(Err(e))
            }
        }
    })
    .scan(false, |ended, id| {
        if *ended {
            return None;
        }
        *ended = id.is_err();
        Some(id)
    })
}

/// Fills `info`; returns how much of it the kernel knows.
fn info_of(fd: &OwnedFd, info: &mut [u8]) -> io::Result<usize> {
    let len = u32::try_from(info.len()).map_err(io::Error::other)?;
    let raw = u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
    let mut attr = Attr::new().u32(0, raw).u32(4, len).u64(8, info.as_mut_ptr() as u64);
    attr.call(command::OBJ_GET_INFO_BY_FD, 16)?;
    Ok(attr.word(4) as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Ids of all loaded programs, as far as this process may ask.
#[must_use]
pub fn program_ids() -> Vec<u32> {
    ids(command::PROG_GET_NEXT_ID).map_while(Result::ok).collect()
}

/// All loaded programs. Those that end meanwhile are left out.
///
/// # Errors
/// That this process may not ask (CAP_BPF and CAP_SYS_ADMIN).
pub fn programs() -> io::Result<Vec<ProgramInfo>> {
    let mut programs = Vec::new();
    for id in ids(command::PROG_GET_NEXT_ID) {
        let id = id?;
        if let Ok(fd) = Attr::new().u32(0, id).call_for_fd(command::PROG_GET_FD_BY_ID, 12) {
            let mut info = [0; 228];
            if info_of(&fd, &mut info).is_ok() {
                programs.push(ProgramInfo {
                    id,
                    kind: u32_at(&info, 0),
                    name: text(&info[64..80]),
                    target_object: u32_at(&info, 220),
                    target: u32_at(&info, 224),
                });
            }
        }
    }
    Ok(programs)
}

/// All links. Empty on kernels without (before 5.7).
///
/// # Errors
/// That this process may not ask (CAP_SYS_ADMIN).
pub fn links() -> io::Result<Vec<LinkInfo>> {
    let mut links = Vec::new();
    for id in ids(command::LINK_GET_NEXT_ID) {
        let id = match id {
            Ok(id) => id,
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(links),
            Err(e) => return Err(e),
        };
        if let Ok(fd) = Attr::new().u32(0, id).call_for_fd(command::LINK_GET_FD_BY_ID, 12)
            && let Ok(link) = link_info(&fd)
        {
            links.push(link);
        }
    }
    Ok(links)
}

fn link_info(fd: &OwnedFd) -> io::Result<LinkInfo> {
    let mut info = [0; 64];
    info_of(fd, &mut info)?;
    let on = match u32_at(&info, 0) {
        link::TRACING => LinkedTo::Function { object: u32_at(&info, 20), target: u32_at(&info, 24) },
        link::PERF_EVENT => perf_event_link(fd),
        link::KPROBE_MULTI => LinkedTo::Kprobes { addresses: multi_addresses(fd).unwrap_or_default() },
        _ => LinkedTo::Other,
    };
    Ok(LinkInfo { program: u32_at(&info, 8), on })
}

fn perf_event_link(fd: &OwnedFd) -> LinkedTo {
    let untold = LinkedTo::Kprobe { symbol: String::new(), offset: 0, address: 0 };
    let mut name = [0_u8; 128];
    let mut info = [0; 64];
    info[24..32].copy_from_slice(&(name.as_mut_ptr() as u64).to_ne_bytes());
    info[32..36].copy_from_slice(&128_u32.to_ne_bytes());
    // A kernel that does not know these members refuses them, or leaves the kind of event at 0.
    match info_of(fd, &mut info).map(|_| u32_at(&info, 16)) {
        Ok(link::PERF_KPROBE | link::PERF_KRETPROBE) => LinkedTo::Kprobe {
            symbol: text(&name),
            offset: u64::from(u32_at(&info, 36)),
            address: u64_at(&info, 40),
        },
        Ok(0) | Err(_) => untold,
        Ok(_) => LinkedTo::Other,
    }
}

/// Functions of one kprobe.multi link that are looked at.
const MULTI_MAX: usize = 4096;

fn multi_addresses(fd: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut addresses = vec![0_u64; MULTI_MAX];
    let mut info = [0; 64];
    info[16..24].copy_from_slice(&(addresses.as_mut_ptr() as u64).to_ne_bytes());
    info[24..28].copy_from_slice(&(MULTI_MAX as u32).to_ne_bytes());
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
pub struct HeldKprobe {
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
pub fn kprobe_of(pid: u32, fd: u32) -> io::Result<HeldKprobe> {
    let mut name = [0_u8; 128];
    let mut attr = Attr::new().u32(0, pid).u32(4, fd).u32(12, 128).u64(16, name.as_mut_ptr() as u64);
    attr.call(command::TASK_FD_QUERY, 48)?;
    match attr.word(28) {
        // BPF_FD_TYPE_KPROBE, BPF_FD_TYPE_KRETPROBE
        2 | 3 => Ok(HeldKprobe {
            program: attr.word(24),
            symbol: text(&name),
            offset: u64_at(&attr.0, 32),
            address: u64_at(&attr.0, 40),
        }),
        _ => Err(io::Error::from_raw_os_error(libc::ENOTSUP)),
    }
}

/// Lifts the limit of locked memory, which kernels before 5.11 charge programs and maps to. Without the right
/// to, the limit stays, and the kernel's refusal will tell.
pub fn lift_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}
