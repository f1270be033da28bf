//! RW017: runs of somebody's handler that the kernel skipped, by the counters that it keeps of them.
//!
//! The counters are as old as the handler, so only what they rose by in the run is a finding; [`missed`] compares
//! two looks. What rose before the first look is told with it, as the total.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::condition::Condition;
use crate::finding::{RuleId, Severity};
use crate::probe::Handler;

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// `recursion_misses` of a BPF program: it, or another program that the same guard is for, was running.
    Recursion,
    /// `missed` of a BPF link: the kprobe or fprobe below the program was not taken.
    Link,
    /// The misses of a kprobe event of tracefs.
    KprobeEvent,
    /// The same of a kretprobe event: more calls at a time than it follows (maxactive), or a kprobe was running.
    KretprobeEvent,
}

/// One counter, as a look read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Tells it apart from all others, for as long as its handler lives.
    pub id: String,
    /// What it counts.
    pub counted: Counted,
    /// The function that the handler is on; the handler's own name where it is on several.
    pub function: String,
    /// Whose runs are skipped.
    pub handler: Handler,
    /// How many were, since the handler was there.
    pub missed: u64,
}

/// How far each counter of somebody else's rose since an earlier look.
#[must_use]
pub fn missed(before: &[Counter], now: &[Counter]) -> Vec<Condition> {
    let conditions = now.iter().filter(|counter| !counter.handler.ours).filter_map(|counter| {
        let count = risen(before, counter);
        (count > 0).then(|| condition(counter, count))
    });
    conditions.collect()
}

/// A counter that was not there before, or was further, is that of a handler that came since.
fn risen(before: &[Counter], counter: &Counter) -> u64 {
    let earlier = before.iter().find(|earlier| earlier.id == counter.id).map_or(0, |earlier| earlier.missed);
    counter.missed.checked_sub(earlier).unwrap_or(counter.missed)
}

fn condition(counter: &Counter, count: u64) -> Condition {
    let (what, help) = match counter.counted {
        Counted::Recursion => (
            "the recursion guard of BPF skipped runs of it",
            "hook what no other program calls while it runs; do not trust its counts",
        ),
        Counted::Link => (
            "the kernel skipped hits of its link, because a probe was running already",
            "hook what no other probe's handler calls; do not trust its counts",
        ),
        Counted::KprobeEvent => (
            "the kernel skipped hits of it, because a kprobe was running already",
            "hook what no other kprobe's handler calls; do not trust its counts",
        ),
        Counted::KretprobeEvent => (
            "the kernel did not follow some of the calls to their return",
            "set it up with a higher maxactive (`r64:GROUP/EVENT FUNCTION`); do not trust its counts",
        ),
    };
    let runs = if count == 1 { "run" } else { "runs" };
    let because = format!("{what}: {count} {runs} since the last look, {} in all", counter.missed);
    Condition {
        handlers: [counter.handler.clone()].into(),
        help: Some(help.into()),
        key: counter.id.clone(),
        count,
        ..Condition::new(RuleId::HandlerMissed, Severity::Warning, counter.function.clone(), because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{HandlerKind, Reliance};

    fn counter(id: &str, missed: u64) -> Counter {
        let name = id.to_owned();
        let ours = name.starts_with("rcuw_");
        Counter {
            id: id.to_owned(),
            counted: Counted::Recursion,
            function: "vfs_read".to_owned(),
            handler: Handler {
                kind: HandlerKind::Bpf,
                name,
                event: None,
                program: Some(7),
                reliance: Reliance::Relies,
                ours,
                owner: None,
            },
            missed,
        }
    }

    #[test]
    fn what_a_counter_rose_by_is_told_with_its_total() {
        let found = missed(&[counter("trace", 30)], &[counter("trace", 600)]);
        let [condition] = &found[..] else { panic!("{found:?}") };
        assert_eq!((condition.rule, condition.severity), (RuleId::HandlerMissed, Severity::Warning));
        assert_eq!((condition.count, condition.function.as_str()), (570, "vfs_read"));
        assert!(condition.because.contains("570 runs") && condition.because.contains("600 in all"));
        assert_eq!(condition.handlers[0].name, "trace");
    }

    #[test]
    fn what_was_missed_before_the_run_is_no_finding() {
        assert_eq!(missed(&[counter("trace", 600)], &[counter("trace", 600)]), []);
        assert_eq!(missed(&[counter("trace", 600)], &[]), []);
    }

    #[test]
    fn a_handler_that_came_in_the_run_missed_all_that_it_missed_in_it() {
        let counts =
            |before: &[Counter], now| missed(before, &[now]).iter().map(|c| c.count).collect::<Vec<_>>();
        assert_eq!(counts(&[], counter("trace", 5)), [5]);
        // An event that was taken away and set up again under its name.
        assert_eq!(counts(&[counter("trace", 600)], counter("trace", 5)), [5]);
        assert_eq!(counts(&[counter("other", 600)], counter("trace", 0)), Vec::<u64>::new());
    }

    #[test]
    fn what_is_missed_of_ours_is_in_the_books_and_no_finding() {
        assert_eq!(missed(&[], &[counter("rcuw_sched_switch", 5)]), []);
    }
}
