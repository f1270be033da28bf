//! A log that is followed as it grows: a splat is told when it is over, not when the log is.
//!
//! The kernel prints a splat in one go, and lockdep's have no last line: where nothing came for a second, what is open
//! is over.

use alloc::vec::Vec;

use crate::dmesg::{Parser, Splat};
use crate::units::Nanos;

/// No kernel takes longer between two lines of one splat, on whatever console.
const PAUSE: Nanos = Nanos(1_000_000_000);

/// Takes lines as they come, gives splats as they end.
#[derive(Debug, Default)]
pub struct Live {
    parser: Parser,
    /// When the last line came.
    last: Nanos,
}

impl Live {
    /// The splats that this line, which came at `now`, ends.
    pub fn line(&mut self, now: Nanos, raw: &str) -> Vec<Splat> {
        self.last = now;
        self.parser.line(raw)
    }

    /// The splats that are over, because nothing has come since.
    pub fn pause(&mut self, now: Nanos) -> Vec<Splat> {
        let is_over = now.0.saturating_sub(self.last.0) >= PAUSE.0;
        if is_over { self.parser.finish() } else { Vec::new() }
    }

    /// The splats that are over, because nobody listens any more.
    pub fn finish(&mut self) -> Vec<Splat> {
        self.parser.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::RuleId;

    const SPLAT: [&str; 5] = [
        "[    7.000001] RCU not on for: arch_cpu_idle+0x0/0x20",
        "[    7.000002] WARNING: CPU: 1 PID: 0 at include/linux/trace_recursion.h:162 f+0x1/0x2",
        "[    7.000003] Call Trace:",
        "[    7.000004]  klp_ftrace_handler+0x10/0x300",
        "[    7.000005]  default_idle_call+0x20/0x30",
    ];

    #[test]
    fn a_splat_without_an_end_is_told_after_a_second_of_silence_and_once() {
        let mut live = Live::default();
        for (number, line) in (1..).zip(SPLAT) {
            assert!(live.line(Nanos(number), line).is_empty());
            assert_eq!(live.pause(Nanos(number)), []);
        }
        assert_eq!(live.pause(Nanos(PAUSE.0 + 4)), []);
        let [splat] = &live.pause(Nanos(PAUSE.0 + 5))[..] else { panic!("one splat") };
        assert_eq!((splat.rule, &splat.function[..]), (RuleId::LivepatchBypassed, "arch_cpu_idle"));
        assert_eq!(live.pause(Nanos(PAUSE.0 + 6)), []);
    }

    #[test]
    fn a_splat_with_an_end_is_told_there_and_the_next_one_is_another() {
        let mut live = Live::default();
        let mut told = Vec::new();
        for round in 0..2 {
            for line in SPLAT.into_iter().chain(["[    7.000006] ---[ end trace 0000000000000000 ]---"]) {
                told.extend(live.line(Nanos(round), line));
            }
        }
        assert_eq!(told.len(), 2);
        assert_eq!(live.finish(), []);
        live.line(Nanos(3), SPLAT[0]);
        assert_eq!(live.finish().len(), 1);
    }
}
