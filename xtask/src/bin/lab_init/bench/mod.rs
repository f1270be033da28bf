//! The guest's half of `cargo xtask bench guest`: an observer is started, work is done under it, both are counted.

mod bpf;
mod empty;
mod flood;
mod observe;
mod work;

pub(crate) use empty::run as empty;
pub(crate) use flood::run as flood;
pub(crate) use observe::run as observe;
pub(crate) use work::run as work;

/// The time stamp counter. Where QEMU counts time in instructions, so many were executed.
fn now() -> u64 {
    // SAFETY: reads a register; every x86-64 has it, and Linux leaves it to user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}
