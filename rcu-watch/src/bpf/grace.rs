//! How long programs are kept after they were detached.
//!
//! A program that is closed is freed after a grace period, and no grace period waits for a CPU in an EQS: one
//! that was running there when it was detached would run on in freed memory. So a program that may run in an EQS
//! stays open for a second more. Times are arguments, so that the rule can be tested.

use std::time::{Duration, Instant};

/// For a program that may be running in an EQS: far longer than any run takes.
const IN_EQS: Duration = Duration::from_secs(1);
/// A program that was running anywhere else when it was detached is done by then.
const SETTLE: Duration = Duration::from_millis(20);

/// What is left to wait for, once programs were detached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grace {
    /// No detached program runs any more.
    settled: Option<Instant>,
    /// All detached programs may be closed.
    closable: Option<Instant>,
}

impl Grace {
    /// Programs were detached; those of before keep their time.
    pub(super) fn detached(&mut self, now: Instant, may_be_in_eqs: bool) {
        let settled = now + if may_be_in_eqs { IN_EQS } else { SETTLE };
        self.settled = self.settled.max(Some(settled));
        if may_be_in_eqs {
            self.closable = self.closable.max(Some(now + IN_EQS));
        }
    }

    /// How long what they send may still be on its way.
    pub(super) fn until_settled(self, now: Instant) -> Duration {
        left(self.settled, now)
    }

    /// How long they may not be closed.
    pub(super) fn until_closable(self, now: Instant) -> Duration {
        left(self.closable, now)
    }
}

fn left(end: Option<Instant>, now: Instant) -> Duration {
    end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_may_run_in_an_eqs_is_waited_for_once_and_no_longer_than_its_time() {
        let mut grace = Grace::default();
        let start = Instant::now();
        grace.detached(start, true);
        assert_eq!(grace.until_closable(start), IN_EQS);
        assert_eq!(grace.until_settled(start), IN_EQS);
        assert_eq!(grace.until_closable(start + 300 * MS), 700 * MS);
        // The end of a run detached and waited; the drop finds nothing attached and nothing to wait for.
        grace.detached(start + IN_EQS, false);
        assert_eq!(grace.until_closable(start + IN_EQS), Duration::ZERO);
        assert_eq!(grace.until_closable(start + 2 * IN_EQS), Duration::ZERO);
    }

    #[test]
    fn a_second_detach_does_not_shorten_the_first() {
        let mut grace = Grace::default();
        let start = Instant::now();
        grace.detached(start, true);
        grace.detached(start + MS, false);
        assert_eq!(grace.until_closable(start + MS), 999 * MS);
        assert_eq!(grace.until_settled(start + MS), 999 * MS);
        grace.detached(start + 2 * MS, true);
        assert_eq!(grace.until_closable(start + 2 * MS), IN_EQS);
    }

    #[test]
    fn programs_that_never_run_in_an_eqs_settle_and_are_closed_at_once() {
        let mut grace = Grace::default();
        let start = Instant::now();
        assert_eq!(grace.until_settled(start), Duration::ZERO);
        grace.detached(start, false);
        assert_eq!(grace.until_settled(start), SETTLE);
        assert_eq!(grace.until_closable(start), Duration::ZERO);
    }
}
