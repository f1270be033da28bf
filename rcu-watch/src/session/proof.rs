//! Makes every chosen CPU do what every run exercises: a context switch, and if it has nothing else to do, idle.
//!
//! An attached probe that never fires looks like a clean kernel. So this process walks over the chosen CPUs
//! and sleeps on each; after that the counters of the checkpoint have moved on every one of them, or the
//! probe is reported as silent.

use std::io;
use std::time::Duration;

use rcu_watch_core::units::CpuId;

/// Long enough to switch away and back; not a wait for anything.
const NAP: Duration = Duration::from_millis(2);

/// Sleeps once on each of `cpus`, then goes back to where this thread may run. CPUs that are closed to this
/// process (a cpuset) are returned.
///
/// # Errors
/// Where the kernel does not tell where this thread may run.
pub fn walk(cpus: &[CpuId]) -> io::Result<Vec<CpuId>> {
    let allowed = affinity()?;
    let mut closed = Vec::new();
    for &cpu in cpus {
        // SAFETY: an array of integers, for which zero is a value.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        if cpu.0 as usize >= 8 * size_of::<libc::cpu_set_t>() {
            closed.push(cpu);
            continue;
        }
        // SAFETY: the bit is within the set, by the check above.
        unsafe { libc::CPU_SET(cpu.0 as usize, &mut one) };
        match set_affinity(&one) {
            Ok(()) => std::thread::sleep(NAP),
            Err(_) => closed.push(cpu),
        }
    }
    set_affinity(&allowed)?;
    Ok(closed)
}

fn affinity() -> io::Result<libc::cpu_set_t> {
    // SAFETY: as in `walk`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes at most the size that is given.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: reads the size that is given.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_where_it_began_and_names_cpus_that_are_not_there() {
        let before = affinity().unwrap();
        let closed = walk(&[CpuId(0), CpuId(1_000_000)]).unwrap();
        assert!(closed.contains(&CpuId(1_000_000)));
        // SAFETY: both sets are whole.
        assert!(unsafe { libc::CPU_EQUAL(&before, &affinity().unwrap()) });
    }
}
