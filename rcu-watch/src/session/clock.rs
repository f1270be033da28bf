//! This process's clocks: the kernel's monotonic one, which the programs stamp records with, and its own cost.

use std::io;

use crate::core::units::Nanos;

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
pub fn realtime_offset_ns() -> i128 {
    let monotonic = now();
    i128::from(read(libc::CLOCK_REALTIME).0) - i128::from(monotonic.0)
}

/// CPU seconds (user and system) that this process has used, and the most memory that it had resident, in bytes.
///
/// # Errors
/// Where the kernel does not tell.
pub fn own_cost() -> io::Result<(f64, u64)> {
    // SAFETY: plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes one rusage.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let resident_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok((seconds(usage.ru_utime) + seconds(usage.ru_stime), resident_kib * 1024))
}
