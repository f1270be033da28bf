//! Makes every chosen CPU do what every run exercises: a context switch, and if it has nothing else to do, idle.
//!
//! An attached probe that never fires looks like a clean kernel. So this process walks over the chosen CPUs
//! and sleeps on each; after that the counters of the checkpoint have moved on every one of them, or the
//! probe is reported as silent.

use std::io;
use std::time::Duration;

use rcu_watch_core::units::CpuId;

use crate::sys::affinity::CpuMask;

/// Long enough to switch away and back; not a wait for anything.
const NAP: Duration = Duration::from_millis(2);

/// Sleeps once on each of `cpus`, then goes back to where this thread may run. CPUs that are closed to this
/// process (a cpuset) are returned.
///
/// # Errors
/// Where the kernel does not tell where this thread may run.
pub(crate) fn walk(cpus: &[CpuId]) -> io::Result<Vec<CpuId>> {
    let allowed = CpuMask::of_this_thread()?;
    let mut closed = Vec::new();
    for &cpu in cpus {
        match CpuMask::of(cpu.0).map(|one| one.bind()) {
            Some(Ok(())) => std::thread::sleep(NAP),
            _ => closed.push(cpu),
        }
    }
    allowed.bind()?;
    Ok(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_where_it_began_and_names_cpus_that_are_not_there() {
        let before = CpuMask::of_this_thread().unwrap();
        let closed = walk(&[CpuId(0), CpuId(1_000_000)]).unwrap();
        assert!(closed.contains(&CpuId(1_000_000)));
        assert_eq!(before, CpuMask::of_this_thread().unwrap());
    }
}
