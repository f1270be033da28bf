//! The few `bpf(2)` calls of the benchmark, and of scenarios that need somebody else's program: load an empty one and
//! attach it, run a program by hand, and ask how long programs are.
//!
//! Attributes are zeroed bytes with members at the offsets of include/uapi/linux/bpf.h, `union bpf_attr`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;
const PROG_GET_NEXT_ID: u32 = 11;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const RAW_TRACEPOINT_OPEN: u32 = 17;

pub(super) const KPROBE: u32 = 2;
pub(super) const RAW_TRACEPOINT: u32 = 17;
pub(super) const TRACING: u32 = 26;
const TRACE_FENTRY: u32 = 24;

/// Programs without a name of ours are somebody's who was here before.
const NAME: &[u8] = b"lab_empty";

/// Lifts the limit of locked memory, as every BPF tool does: kernels before 5.11 charge programs to the user, with
/// those of all other tools that run.
pub(super) fn lift_memory_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is read, and lives until the call returns.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

struct Attr([u8; 144]);

impl Attr {
    fn new() -> Self {
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

    fn call(&mut self, command: u32, size: usize) -> io::Result<i32> {
        // SAFETY: `self` holds `size` bytes, and every address in it is of a buffer that its caller keeps.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size) };
        i32::try_from(result).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)
    }

    fn call_for_fd(&mut self, command: u32, size: usize) -> io::Result<OwnedFd> {
        let fd = self.call(command, size)?;
        // SAFETY: a new descriptor that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn raw(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Loads `r0 = 0; exit`; `target` is the BTF id of the function that an fentry program is for.
pub(super) fn load_empty(kind: u32, target: Option<u32>) -> io::Result<OwnedFd> {
    let program: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    let mut attr =
        Attr::new().u32(0, kind).u32(4, 2).u64(8, program.as_ptr() as u64).u64(16, license.as_ptr() as u64);
    attr.0[48..48 + NAME.len()].copy_from_slice(NAME);
    let mut size = 64;
    if let Some(target) = target {
        attr = attr.u32(68, TRACE_FENTRY).u32(108, target);
        size = 112;
    }
    attr.call_for_fd(PROG_LOAD, size)
}

/// Attaches to a raw tracepoint, or an fentry program to its function.
pub(super) fn attach(program: &OwnedFd, tracepoint: Option<&str>) -> io::Result<OwnedFd> {
    let name = tracepoint.map(|name| format!("{name}\0"));
    let address = name.as_ref().map_or(0, |name| name.as_ptr() as u64);
    Attr::new().u64(0, address).u32(8, raw(program)).call_for_fd(RAW_TRACEPOINT_OPEN, 16)
}

/// Attaches to a function by a perf event, as most tools do that know no links.
pub(super) fn attach_kprobe(program: &OwnedFd, function: &str) -> io::Result<OwnedFd> {
    // include/uapi/linux/perf_event.h: PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_ATTR_SIZE_VER7.
    const ENABLE: libc::c_ulong = 0x2400;
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    const ATTR_SIZE: u32 = 128;
    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
    let kind: u32 = kind.trim().parse().map_err(io::Error::other)?;
    let function = CString::new(function)?;
    // type, size, and kprobe_func at 56, where breakpoints have their address.
    let mut attr = Attr::new().u32(0, kind).u32(4, ATTR_SIZE).u64(56, function.as_ptr() as u64);
    let (anybody, cpu, no_group, close_on_exec) = (-1, 0, -1, 8_u64);
    // SAFETY: `attr` holds `ATTR_SIZE` bytes, and `function` lives until the call is over.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attr.0.as_mut_ptr(), anybody, cpu, no_group, close_on_exec)
    };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a new descriptor that nothing else owns.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both requests take an integer and no memory.
        if unsafe { libc::ioctl(fd, request as _, argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}

/// Runs a raw tracepoint's program once on this CPU.
pub(super) fn test_run(program: &OwnedFd, context: &[u64]) -> io::Result<()> {
    let bytes = u32::try_from(size_of_val(context)).map_err(io::Error::other)?;
    let mut attr = Attr::new().u32(0, raw(program)).u32(40, bytes).u64(48, context.as_ptr() as u64);
    attr.call(PROG_TEST_RUN, 72).map(drop)
}

/// A loaded program.
pub(super) struct Program {
    pub fd: OwnedFd,
    pub kind: u32,
    pub name: String,
    pub jited_bytes: u32,
    pub xlated_bytes: u32,
}

/// All that are loaded.
pub(super) fn programs() -> Vec<Program> {
    let mut programs = Vec::new();
    let mut last = 0;
    loop {
        let mut next = Attr::new().u32(0, last);
        if next.call(PROG_GET_NEXT_ID, 12).is_err() {
            return programs;
        }
        last = u32::from_ne_bytes([next.0[4], next.0[5], next.0[6], next.0[7]]);
        if let Ok(fd) = Attr::new().u32(0, last).call_for_fd(PROG_GET_FD_BY_ID, 12)
            && let Ok(program) = describe(fd)
        {
            programs.push(program);
        }
    }
}

fn describe(fd: OwnedFd) -> io::Result<Program> {
    let mut info = [0_u8; 224];
    Attr::new().u32(0, raw(&fd)).u32(4, 224).u64(8, info.as_mut_ptr() as u64).call(OBJ_GET_INFO_BY_FD, 16)?;
    let u32_at = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let name = &info[64..80];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(Program {
        kind: u32_at(0),
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        jited_bytes: u32_at(16),
        xlated_bytes: u32_at(20),
        fd,
    })
}

/// The BTF id of a function of the kernel image.
pub(super) fn function_id(name: &str) -> Option<u32> {
    const FUNCTION: u32 = 12;
    let btf = fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let word = |at: usize| {
        let bytes = btf.get(at..at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let header = word(4)? as usize;
    let (types, types_len) = (header + word(8)? as usize, word(12)? as usize);
    let strings = header + word(16)? as usize;
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = btf.get(strings..)?.windows(wanted.len()).position(|bytes| bytes == wanted)?;
    let name_at = u32::try_from(at + 1).ok()?;
    let (mut at, mut id) = (types, 1);
    while at < types + types_len {
        let info = word(at + 4)?;
        let (kind, count) = (info >> 24 & 31, (info & 0xffff) as usize);
        if kind == FUNCTION && word(at)? == name_at {
            return Some(id);
        }
        at += 12 + tail_bytes(kind, count)?;
        id += 1;
    }
    None
}

/// What follows the fixed part of a type: Documentation/bpf/btf.rst.
fn tail_bytes(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}
