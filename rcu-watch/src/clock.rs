//! This process's clocks: the kernel's monotonic one, which the programs stamp records with, and its own cost.

use std::io;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::time::ClockId;
use nix::unistd::{SysconfVar, sysconf};
use rcu_watch_core::units::{Nanos, RealtimeOffset};

fn read(clock: ClockId) -> Nanos {
    let time = clock.now().expect("every kernel has these clocks, and reading them needs no privilege");
    Nanos(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` reads it.
#[must_use]
pub(crate) fn now() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC)
}

/// How long a jiffy of this kernel is: the resolution of its coarse clocks (include/linux/ktime.h:KTIME_LOW_RES).
#[must_use]
pub(crate) fn tick() -> Nanos {
    let tick = nix::time::clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .expect("every kernel has this clock, and asking needs no privilege");
    Nanos(tick.tv_sec().cast_unsigned() * 1_000_000_000 + tick.tv_nsec().cast_unsigned())
}

/// What to add to [`now`] to have nanoseconds since 1970.
#[must_use]
pub(crate) fn realtime_offset() -> RealtimeOffset {
    let monotonic = now();
    // Either clock has 292 years before its nanoseconds leave 63 bits.
    RealtimeOffset(read(ClockId::CLOCK_REALTIME).0.wrapping_sub(monotonic.0).cast_signed())
}

/// What this process has cost up to now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnCost {
    /// User and system.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub max_resident_bytes: u64,
}

/// # Errors
/// Where the kernel does not tell.
pub(crate) fn own_cost() -> io::Result<OwnCost> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let max_resident_bytes = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
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
pub(crate) fn cpu_seconds() -> io::Result<f64> {
    Ok(cpu_seconds_of(&getrusage(UsageWho::RUSAGE_SELF)?))
}

fn cpu_seconds_of(usage: &Usage) -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn resident_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/statm has no second number"))?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    Ok(pages * page)
}
