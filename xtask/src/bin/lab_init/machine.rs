//! The guest as a machine: mounts, modules, switching off.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use xtask::plan::MODULES_DIR;

const MOUNTS: [(&str, &str); 9] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/run"),
    ("tracefs", "/sys/kernel/tracing"),
    ("debugfs", "/sys/kernel/debug"),
    ("securityfs", "/sys/kernel/security"),
];

/// QEMU's isa-debug-exit device, as the host starts it.
const DEBUG_EXIT_PORT: u64 = 0xf4;

/// Mounts everything and says what could not be.
pub(crate) fn set_up() -> Vec<String> {
    let mut problems: Vec<String> = MOUNTS.iter().filter_map(|(kind, at)| mount(kind, at).err()).collect();
    // `bpf` is last, and optional: a kernel without it is one of the bad places that are tried.
    let _ = mount("bpf", "/sys/fs/bpf");
    for (name, value) in [("PATH", "/bin"), ("HOME", "/tmp"), ("TERM", "dumb")] {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::set_var(name, value) };
    }
    if let Err(error) = std::env::set_current_dir("/tmp") {
        problems.push(format!("/tmp: {error}"));
    }
    problems
}

fn mount(kind: &str, at: &str) -> Result<(), String> {
    let _ = fs::create_dir_all(at);
    let c = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (kind_c, at_c) = (c(kind)?, c(at)?);
    // SAFETY: the strings end in NUL and live over the call; no data is passed.
    let result = unsafe { libc::mount(kind_c.as_ptr(), at_c.as_ptr(), kind_c.as_ptr(), 0, std::ptr::null()) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        // The kernel may have mounted its own devtmpfs already.
        error if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        error => Err(format!("mount {kind} on {at}: {error}")),
    }
}

pub(crate) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

pub(crate) fn load_module(name: &str, params: &str) -> Result<(), String> {
    let path = format!("{MODULES_DIR}/{name}.ko");
    let file = fs::File::open(&path).map_err(|error| format!("{path}: {error}"))?;
    let params = CString::new(params).map_err(|error| error.to_string())?;
    // SAFETY: an open descriptor and a string that ends in NUL.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), params.as_ptr(), 0) };
    if result == 0 { Ok(()) } else { Err(format!("{name}: {}", io::Error::last_os_error())) }
}

pub(crate) fn unload_module(name: &str) -> Result<(), String> {
    let c_name = CString::new(name).map_err(|error| error.to_string())?;
    // SAFETY: a string that ends in NUL.
    let result = unsafe { libc::syscall(libc::SYS_delete_module, c_name.as_ptr(), libc::O_NONBLOCK) };
    if result == 0 { Ok(()) } else { Err(format!("{name}: {}", io::Error::last_os_error())) }
}

/// Binds an empty file over a path.
pub(crate) fn hide(path: &str) -> Result<(), String> {
    let empty = "/tmp/.empty";
    fs::write(empty, "").map_err(|error| format!("{empty}: {error}"))?;
    let c = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (from, at, none) = (c(empty)?, c(path)?, std::ptr::null());
    // SAFETY: the strings end in NUL and live over the call; a bind mount takes neither type nor data.
    let result = unsafe { libc::mount(from.as_ptr(), at.as_ptr(), none, libc::MS_BIND, none.cast()) };
    if result == 0 { Ok(()) } else { Err(format!("bind on {path}: {}", io::Error::last_os_error())) }
}

pub(crate) fn unhide(path: &str) -> Result<(), String> {
    let at = CString::new(path).map_err(|error| error.to_string())?;
    // SAFETY: a string that ends in NUL.
    let result = unsafe { libc::umount2(at.as_ptr(), 0) };
    if result == 0 { Ok(()) } else { Err(format!("unmount {path}: {}", io::Error::last_os_error())) }
}

/// Through the exit device where there is one: a power-off takes seconds under emulation.
pub(crate) fn power_off() -> ! {
    if let Ok(ports) = fs::OpenOptions::new().write(true).open("/dev/port") {
        let _ = ports.write_all_at(&[0], DEBUG_EXIT_PORT);
    }
    loop {
        // SAFETY: takes an integer only; it returns only on failure.
        unsafe { libc::reboot(libc::RB_POWER_OFF) };
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// A signal's effect on a process of the plan.
pub(crate) fn kill(pid: u32, signal: i32) -> Result<(), String> {
    let pid = i32::try_from(pid).map_err(|error| error.to_string())?;
    // SAFETY: takes integers only.
    if unsafe { libc::kill(pid, signal) } == 0 {
        return Ok(());
    }
    // SAFETY: strsignal returns a string that lives until the next call; it is copied at once.
    let name = unsafe { CStr::from_ptr(libc::strsignal(signal)) }.to_string_lossy().into_owned();
    Err(format!("{name} to {pid}: {}", io::Error::last_os_error()))
}
