//! SIGINT, SIGTERM and SIGHUP as something to ask for: an audit ends between two steps, with everything undone.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::session::signals::ends_by_hangup;

/// Takes the signals from here on.
pub(crate) struct Stop {
    signals: SignalFd,
    asked: bool,
}

impl Stop {
    /// # Errors
    /// Where the kernel gives no descriptor.
    pub(crate) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        if ends_by_hangup() {
            set.add(Signal::SIGHUP);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { signals, asked: false })
    }

    /// Whether it is time to end.
    pub(crate) fn is_asked(&mut self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Sleeps so long, or until a signal comes; whether one came.
    pub(crate) fn wait(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.asked {
            let left = end.saturating_duration_since(Instant::now());
            let ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
            let mut signals = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            // The signal is left to be read: asked once is asked.
            self.asked = poll(&mut signals, timeout).is_ok_and(|ready| ready > 0);
            if left.is_zero() {
                break;
            }
        }
        self.asked
    }
}
