//! Where a thread may run, on machines of any size: `cpu_set_t`, and with it every crate, ends at 1,024 CPUs, and the kernel
//! refuses to tell into a mask that is shorter than its own.

use std::io;

const BITS: usize = u64::BITS as usize;
/// CPUs that any kernel can have: CONFIG_NR_CPUS ends at 8,192, and a mask that is too long does no harm.
const MOST: usize = 1 << 16;

/// A set of CPUs, as long as it needs to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuMask(Vec<u64>);

impl CpuMask {
    /// One CPU; `None` where no kernel has it.
    pub(crate) fn of(cpu: u32) -> Option<Self> {
        let cpu = cpu as usize;
        if cpu >= MOST {
            return None;
        }
        let mut words = vec![0; cpu / BITS + 1];
        words[cpu / BITS] = 1 << (cpu % BITS);
        Some(Self(words))
    }

    /// The CPUs in it.
    #[cfg(test)]
    fn cpus(&self) -> Vec<usize> {
        (0..self.0.len() * BITS).filter(|cpu| self.0[cpu / BITS] & 1 << (cpu % BITS) != 0).collect()
    }

    /// Where this thread may run.
    ///
    /// # Errors
    /// That of the call.
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        let mut words = vec![0_u64; MOST / BITS];
        let bytes = size_of_val(&words[..]);
        // SAFETY: the kernel writes at most `bytes` bytes, which the vector has; any bits are a value.
        let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, bytes, words.as_mut_ptr()) };
        let written = usize::try_from(written).map_err(|_| io::Error::last_os_error())?;
        words.truncate(written.div_ceil(size_of::<u64>()));
        Ok(Self(words))
    }

    /// Has this thread run there only.
    ///
    /// # Errors
    /// Where none of them is open to this thread.
    pub(crate) fn bind(&self) -> io::Result<()> {
        let bytes = size_of_val(&self.0[..]);
        // SAFETY: the kernel reads at most `bytes` bytes, which the vector has.
        let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, self.0.as_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_beyond_1024_has_its_bit() {
        for cpu in [0, 63, 64, 1023, 1024, 8191, 65_535] {
            assert_eq!(CpuMask::of(cpu).unwrap().cpus(), [cpu as usize]);
        }
        assert_eq!(CpuMask::of(65_536), None);
    }

    #[test]
    fn a_thread_goes_where_it_is_sent_and_back() {
        std::thread::spawn(|| {
            let before = CpuMask::of_this_thread().unwrap();
            let first = before.cpus()[0];
            CpuMask::of(first as u32).unwrap().bind().unwrap();
            assert_eq!(CpuMask::of_this_thread().unwrap().cpus(), [first]);
            before.bind().unwrap();
            assert_eq!(CpuMask::of_this_thread().unwrap(), before);
            // Nobody has it.
            assert!(CpuMask::of(65_535).unwrap().bind().is_err());
        })
        .join()
        .unwrap();
    }
}
