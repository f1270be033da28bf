//! The signals that end a run, from before its first probe on.
//!
//! A signal that is not caught closes the programs at once, also those that run in an EQS just then. So they are caught
//! before anything is attached; one that comes while the probes are being attached is answered when they are.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// SIGINT, SIGTERM and, unless whoever started us has us ignore it, SIGHUP.
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: Option<unix::Signal>,
}

impl Signals {
    /// Catches them from here on. To be called where the event loop's runtime is entered.
    ///
    /// # Errors
    /// Where the kernel lets none be caught.
    pub fn catch() -> Result<Self> {
        let catch = |kind, name| signal(kind).with_context(|| format!("cannot catch {name}"));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt(), "SIGINT")?,
            terminate: catch(SignalKind::terminate(), "SIGTERM")?,
            hangup: ends_by_hangup().then(|| catch(SignalKind::hangup(), "SIGHUP")).transpose()?,
        })
    }

    /// Returns when one of them has come. Safe to drop and call again.
    pub(super) async fn any(&mut self) {
        let Self { interrupt, terminate, hangup } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether a terminal that goes away is to end us: not under nohup.
pub(crate) fn ends_by_hangup() -> bool {
    !fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, Signal::SIGHUP))
}

/// What the mask of ignored signals says (fs/proc/array.c:task_sig): the first signal is the lowest bit.
fn ignores(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal as u32 - 1)) != 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_signal_before_the_event_loop_ends_the_run_when_the_loop_begins() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut signals = {
            let _entered = runtime.enter();
            Signals::catch().unwrap()
        };
        // Not caught, it would end this process here.
        kill(Pid::this(), Signal::SIGTERM).unwrap();
        let came =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), signals.any()).await });
        assert!(came.is_ok());
    }

    #[test]
    fn under_nohup_a_hangup_is_left_alone() {
        let status =
            |mask: &str| format!("SigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n");
        assert!(ignores(&status("0000000000000001"), Signal::SIGHUP));
        assert!(ignores(&status("0000000000001001"), Signal::SIGHUP));
        assert!(!ignores(&status("0000000000001000"), Signal::SIGHUP));
        assert!(!ignores("", Signal::SIGHUP));
    }
}
