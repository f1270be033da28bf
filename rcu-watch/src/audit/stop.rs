//! SIGINT and SIGTERM as something to ask for: an audit ends between two steps, with everything undone.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// Takes the signals from here on.
pub struct Stop {
    signals: OwnedFd,
    asked: bool,
}

impl Stop {
    /// # Errors
    /// Where the kernel gives no descriptor.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a set is filled before it is used, and outlives the calls; the descriptor is new and ours.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let signals = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if signals < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { signals: OwnedFd::from_raw_fd(signals), asked: false })
        }
    }

    /// Whether it is time to end.
    pub fn is_asked(&mut self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Sleeps so long, or until a signal comes; whether one came.
    pub fn wait(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.asked {
            let left = end.saturating_duration_since(Instant::now());
            let mut poll = libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let ms = libc::c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
            // SAFETY: one pollfd, which outlives the call. The signal is left to be read: asked once is asked.
            self.asked = unsafe { libc::poll(&raw mut poll, 1, ms) } > 0;
            if left.is_zero() {
                break;
            }
        }
        self.asked
    }
}
