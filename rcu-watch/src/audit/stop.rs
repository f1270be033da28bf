//! SIGINT, SIGTERM and SIGHUP as something to ask for: an audit ends between two steps, with everything undone.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::outlet;
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
        // Nobody waits for a reader of our output after a signal.
        let watched = signals.as_fd().try_clone_to_owned()?;
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while poll(&mut [PollFd::new(watched.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).is_err() {}
            outlet::hurry();
        })?;
        Ok(Self { signals, asked: false })
    }

    /// Whether it is time to end.
    pub(crate) fn is_asked(&mut self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits until `input` has something to read or has ended; whether a signal came first.
    pub(crate) fn wait_for(&mut self, input: BorrowedFd<'_>) -> bool {
        while !self.asked {
            let mut both = [self.signals.as_fd(), input].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut both, PollTimeout::NONE).is_err() {
                continue;
            }
            let [asked, is_ready] = both.map(|fd| fd.any().unwrap_or(true));
            self.asked = asked;
            if is_ready {
                break;
            }
        }
        self.asked
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
