//! One CPU's recent past in buckets of a tenth of a second: how much of it RCU watched, and what came in.

use std::collections::VecDeque;

use rcu_watch_core::probe::Point;
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::Nanos;

pub(crate) const BUCKET_NS: u64 = 100_000_000;
/// One minute.
const BUCKETS: usize = 600;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    pub eqs_ns: u64,
    pub watched_ns: u64,
    pub irqs: u32,
    pub nmis: u32,
    pub breaks: u32,
}

/// What the CPU was last seen doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Now {
    /// Nothing came from it yet.
    #[default]
    Unknown,
    Watching,
    /// In an extended quiescent state, by idle state.
    Eqs(u64),
}

#[derive(Clone, Debug, Default)]
pub struct Strip {
    pub now: Now,
    /// Pid of the last task seen.
    pub pid: u32,
    buckets: VecDeque<Bucket>,
    /// Up to where time is accounted.
    at: Nanos,
}

impl Strip {
    /// Takes a record in. Records of one CPU come in order; an older one counts in the current bucket.
    pub fn observe(&mut self, seen: &Seen<'_>) {
        self.advance(seen.ts);
        self.pid = seen.pid;
        let bucket = self.current();
        match seen.point {
            Point::IrqEnter => bucket.irqs += 1,
            Point::NmiEnter | Point::IstEnter => bucket.nmis += 1,
            _ => {}
        }
        self.now = match (seen.point, self.now) {
            (Point::EqsEnter, _) => Now::Eqs(seen.arg),
            // What interrupts an EQS does not end it.
            (Point::IrqEnter | Point::IrqExit | Point::NmiEnter | Point::IstEnter, now @ Now::Eqs(_)) => now,
            (_, now @ Now::Eqs(_)) if !seen.watching => now,
            _ => Now::Watching,
        };
    }

    pub fn break_seen(&mut self, ts: Nanos) {
        self.advance(ts);
        self.current().breaks += 1;
    }

    /// Accounts the time up to `ts` to what the CPU was doing.
    pub fn advance(&mut self, ts: Nanos) {
        if self.at.0 == 0 || ts.0.saturating_sub(self.at.0) > BUCKET_NS * BUCKETS as u64 {
            self.buckets.clear();
            self.at = ts;
            return;
        }
        while self.at < ts {
            let boundary = (self.at.0 / BUCKET_NS + 1) * BUCKET_NS;
            let end = boundary.min(ts.0);
            let spent = end - self.at.0;
            let now = self.now;
            let bucket = self.current();
            match now {
                Now::Unknown => {}
                Now::Watching => bucket.watched_ns += spent,
                Now::Eqs(_) => bucket.eqs_ns += spent,
            }
            self.at = Nanos(end);
            if end == boundary {
                self.buckets.push_back(Bucket::default());
                if self.buckets.len() > BUCKETS {
                    self.buckets.pop_front();
                }
            }
        }
    }

    fn current(&mut self) -> &mut Bucket {
        if self.buckets.is_empty() {
            self.buckets.push_back(Bucket::default());
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last]
    }

    /// The last `columns` columns of `per_column` whole buckets each, oldest first; fewer where less is known.
    #[must_use]
    pub fn columns(&self, columns: usize, per_column: usize) -> Vec<Bucket> {
        // Columns begin at fixed times, so that they do not flicker as they fill.
        let newest = usize::try_from(self.at.0 / BUCKET_NS).unwrap_or(0);
        let partial = newest % per_column + 1;
        let mut sums: Vec<Bucket> = Vec::new();
        for (age, bucket) in self.buckets.iter().rev().enumerate() {
            let column = if age < partial { 0 } else { 1 + (age - partial) / per_column };
            if column >= columns {
                break;
            }
            if column == sums.len() {
                sums.push(Bucket::default());
            }
            let sum = &mut sums[column];
            sum.eqs_ns += bucket.eqs_ns;
            sum.watched_ns += bucket.watched_ns;
            sum.irqs += bucket.irqs;
            sum.nmis += bucket.nmis;
            sum.breaks += bucket.breaks;
        }
        sums.reverse();
        sums
    }

    /// Share of the last second that the CPU was in an EQS; `None` where nothing is known of it.
    #[must_use]
    pub fn eqs_share(&self) -> Option<f64> {
        let (mut eqs, mut all) = (0, 0);
        for bucket in self.buckets.iter().rev().take(10) {
            eqs += bucket.eqs_ns;
            all += bucket.eqs_ns + bucket.watched_ns;
        }
        (all > 0).then(|| eqs as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcu_watch_core::units::CpuId;

    /// At `ms` milliseconds after a whole second.
    fn seen(ms: u64, point: Point, watching: bool) -> Seen<'static> {
        Seen {
            ts: at(ms),
            cpu: CpuId(0),
            point,
            symbol: "",
            watching,
            hardirq: false,
            nmi: false,
            pid: 7,
            arg: 2,
        }
    }

    fn at(ms: u64) -> Nanos {
        Nanos(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn time_between_entry_and_exit_is_eqs() {
        let mut strip = Strip::default();
        strip.observe(&seen(0, Point::Checkpoint, true));
        strip.observe(&seen(50, Point::EqsEnter, true));
        assert_eq!(strip.now, Now::Eqs(2));
        strip.observe(&seen(250, Point::EqsExit, true));
        strip.advance(at(300));
        let shares: Vec<_> =
            strip.columns(3, 1).iter().map(|b| (b.eqs_ns / 1_000_000, b.watched_ns / 1_000_000)).collect();
        assert_eq!(shares, [(100, 0), (50, 50), (0, 0)]);
        let all = strip.columns(10, 10);
        assert_eq!(all.iter().map(|b| b.eqs_ns).sum::<u64>(), 200_000_000);
        assert!((strip.eqs_share().unwrap() - 200.0 / 300.0).abs() < 1e-9);
    }

    #[test]
    fn an_interrupt_does_not_end_an_eqs_but_a_task_does() {
        let mut strip = Strip::default();
        strip.observe(&seen(0, Point::EqsEnter, true));
        strip.observe(&seen(1, Point::IrqEnter, true));
        strip.observe(&seen(2, Point::NmiEnter, true));
        strip.observe(&seen(3, Point::PatchedFunction, false));
        assert_eq!(strip.now, Now::Eqs(2));
        strip.observe(&seen(4, Point::Checkpoint, true));
        assert_eq!(strip.now, Now::Watching);
        let bucket = strip.columns(1, 1)[0];
        assert_eq!((bucket.irqs, bucket.nmis), (1, 1));
    }

    #[test]
    fn a_long_silence_starts_anew_and_time_never_runs_back() {
        let mut strip = Strip::default();
        strip.observe(&seen(0, Point::EqsEnter, true));
        strip.advance(at(3_600_000));
        assert!(strip.columns(600, 1).len() <= 1);
        strip.break_seen(at(0));
        assert_eq!(strip.columns(1, 1)[0].breaks, 1);
        strip.advance(at(3_600_000 + 59_000));
        assert!(strip.columns(1000, 1).len() <= 600);
    }
}
