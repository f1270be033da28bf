//! Hardware breakpoints on kernel memory, by perf_event_open(2): one event a CPU and word.
//!
//! Opened here and not by aya, which would ask for `precise_ip` 2: with that the kernel lets no program on the event
//! that takes a stack.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use aya_obj::generated::{
    HW_BREAKPOINT_LEN_4, HW_BREAKPOINT_W, PERF_FLAG_FD_CLOEXEC, perf_event_attr, perf_type_id,
};

// include/uapi/linux/perf_event.h
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// A breakpoint on writes of four bytes. Closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Breakpoint(OwnedFd);

impl Breakpoint {
    /// Opens one for `cpu`, switched off.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn open(cpu: u32, address: u64) -> io::Result<Self> {
        let cpu = libc::c_int::try_from(cpu).map_err(io::Error::other)?;
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
                cpu,
                no_group,
                libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
            )
        };
        match RawFd::try_from(fd) {
            // SAFETY: a descriptor that the kernel just gave us, and nobody else knows.
            Ok(fd) if fd >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Has `program` run for each write.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn set_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())
    }

    /// Switches it on or off.
    ///
    /// # Errors
    /// Where another took the breakpoint meanwhile.
    pub(crate) fn switch(&self, on: bool) -> io::Result<()> {
        self.control(if on { PERF_EVENT_IOC_ENABLE } else { PERF_EVENT_IOC_DISABLE }, 0)?;
        // A pinned event that found no room is in an error state: it is enabled without complaint, and reads as
        // the end of a file.
        if on { self.count().map(|_| ()) } else { Ok(()) }
    }

    /// Writes that it counted, whether the program ran for them or not.
    ///
    /// # Errors
    /// Where another took the breakpoint meanwhile.
    pub(crate) fn count(&self) -> io::Result<u64> {
        let mut value = [0_u8; 8];
        // SAFETY: eight bytes of room, as many as are asked for.
        let read = unsafe { libc::read(self.0.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
        match read {
            8 => Ok(u64::from_ne_bytes(value)),
            0 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn control(&self, request: libc::c_ulong, argument: RawFd) -> io::Result<()> {
        // SAFETY: none of these requests takes a pointer.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
