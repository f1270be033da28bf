//! The limits of this process that it changes for itself.

use std::sync::OnceLock;

use nix::libc::{RLIM_INFINITY, rlim_t};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Soft and hard, of locked memory, as this process was started with.
static STARTED_WITH: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();

/// Lifts the limit of locked memory, which kernels before 5.11 charge programs and maps to. Without the right
/// to, the limit stays, and the kernel's refusal will tell.
pub(crate) fn lift_memory_limit() {
    if let Ok(limit) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        STARTED_WITH.get_or_init(|| limit);
    }
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Does `start`, which starts another program, under the limits that this one was started with.
pub(crate) fn as_started<T>(start: impl FnOnce() -> T) -> T {
    let Some(&(soft, hard)) = STARTED_WITH.get() else { return start() };
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard);
    let started = start();
    lift_memory_limit();
    started
}
