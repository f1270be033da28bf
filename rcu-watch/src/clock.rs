//! This process's clocks: the kernel's monotonic one, which the programs stamp records with, and its own cost.

use std::io;

use rcu_watch_core::units::{Nanos, RealtimeOffset};

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Only an unknown clock or a bad pointer can fail, and these are neither.
    debug_assert_eq!(result, 0);
    Nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` reads it.
#[must_use]
pub fn now() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
}

/// What to add to [`now`] to have nanoseconds since 1970.
#[must_use]
pub fn realtime_offset() -> RealtimeOffset {
    let monotonic = now();
    // Either clock has 292 years before its nanoseconds leave 63 bits.
    RealtimeOffset(read(libc::CLOCK_REALTIME).0.wrapping_sub(monotonic.0).cast_signed())
}

/// What this process has cost up to now.
#[derive(Clone, Copy, Debug)]
pub struct OwnCost {
    /// User and system.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub max_resident_bytes: u64,
}

/// # Errors
/// Where the kernel does not tell.
pub fn own_cost() -> io::Result<OwnCost> {
    let usage = usage()?;
    let max_resident_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    Ok(OwnCost {
        cpu_seconds: cpu_seconds_of(&usage),
        resident_bytes: resident_bytes()?.min(max_resident_bytes),
        max_resident_bytes,
    })
}

/// CPU seconds of this process up to now, user and system.
///
/// # Errors
/// Where the kernel does not tell.
pub fn cpu_seconds() -> io::Result<f64> {
    usage().map(|usage| cpu_seconds_of(&usage))
}

fn cpu_seconds_of(usage: &libc::rusage) -> f64 {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn usage() -> io::Result<libc::rusage> {
    // SAFETY: plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usage)
}

fn resident_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/statm has no second number"))?;
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages * u64::try_from(page).unwrap_or(4096))
}
