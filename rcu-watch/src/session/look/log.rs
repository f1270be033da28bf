//! The kernel's own word: its log, from the start of the run on, parsed as `dmesg` parses a whole one.
//!
//! What was printed before the run is left out: `rcu-watch dmesg` reads it. A splat goes into the stream when it is over,
//! a second or two after it was printed; what it means beside what our probes saw is for the session to say.

use std::time::Duration;

use rcu_watch_core::dmesg::{Live, Splat};
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::report::{Message, ProbeError};
use rcu_watch_core::units::Nanos;

use super::{Look, Sighted};
use crate::kernel::kmsg::{KernelLog, Since};
use crate::kernel::mount::Tree;
use crate::kernel::support::Reason;

/// Between two looks: each is one call of the kernel where nothing was printed.
const PAUSE: Duration = Duration::from_secs(1);
/// Records taken in one look: some ten times what a burst of splats has.
const MOST: usize = 8192;
const NAME: &str = "/dev/kmsg";

/// Follows the kernel's log.
pub(super) struct Log {
    log: Result<KernelLog, Reason>,
    live: Live,
}

impl Log {
    /// Opens the log; what is printed from now on is read.
    pub(super) fn open(tree: &Tree) -> Self {
        Self { log: KernelLog::open(tree, Since::Now), live: Live::default() }
    }

    fn read(&mut self, now: Nanos) -> (Vec<Splat>, Sighted) {
        let mut sighted = Sighted::default();
        let Ok(log) = &mut self.log else { return (Vec::new(), sighted) };
        let news = match log.news(MOST) {
            Ok(news) => news,
            Err(error) => {
                sighted.messages.push(problem(format!("the log is not followed any more: {error}")));
                self.log = Err(Reason::new(error.to_string()));
                return (Vec::new(), sighted);
            }
        };
        if news.overwritten > 0 {
            sighted.messages.push(problem(format!(
                "{} records of the kernel's log were overwritten before they were read; log_buf_len= makes it larger",
                news.overwritten
            )));
        }
        let splats = news.lines.iter().flat_map(|line| self.live.line(now, line)).collect();
        (splats, sighted)
    }
}

fn problem(error: String) -> Message {
    Message::ProbeError(ProbeError { probe: None, symbol: NAME.to_owned(), error })
}

impl Look for Log {
    fn pause(&self) -> Duration {
        PAUSE
    }

    fn look(&mut self, now: Nanos) -> Sighted {
        let (mut splats, mut sighted) = self.read(now);
        splats.extend(self.live.pause(now));
        sighted.conditions = splats.iter().map(Splat::condition).collect();
        sighted
    }

    fn last(&mut self, now: Nanos) -> Sighted {
        let (mut splats, mut sighted) = self.read(now);
        splats.extend(self.live.finish());
        sighted.conditions = splats.iter().map(Splat::condition).collect();
        sighted
    }

    fn unseen(&self) -> Option<BlindSpot> {
        let Reason { why: reason, remedy } = self.log.as_ref().err()?.clone();
        Some(BlindSpot { what: "what the kernel itself says of RCU".to_owned(), reason, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_read_is_a_blind_spot_with_its_remedy_and_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(&Tree::under(directory.path()));
        let spot = log.unseen().unwrap();
        assert!(spot.reason.contains("/dev/kmsg") && spot.remedy.is_some(), "{spot:?}");
        let sighted = log.last(Nanos(1));
        assert!(sighted.conditions.is_empty() && sighted.messages.is_empty());
    }
}
