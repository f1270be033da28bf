//! Where a list was made, for commands that read the kernel's lists and make no plan.

use rcu_watch_core::report::header::{Clock, Header, Kernel};

use crate::clock;
use crate::kernel::cpu;
use crate::kernel::line::first_line;
use crate::kernel::mount::Tree;

/// A header of what the kernel's files say of the host; what cannot be read is empty.
pub(super) fn host_header(tree: &Tree, command: &'static str) -> Header {
    let clock = Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: clock::realtime_offset() };
    let line = |path| first_line(&tree.path(path)).unwrap_or_default();
    Header {
        host: line("/proc/sys/kernel/hostname"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        kernel: Kernel {
            release: line("/proc/sys/kernel/osrelease"),
            machine: std::env::consts::ARCH.to_owned(),
        },
        cpus: cpu::of_line(&line("/sys/devices/system/cpu/online")),
        ..Header::new(command, clock)
    }
}
