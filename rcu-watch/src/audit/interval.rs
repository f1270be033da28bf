//! Which functions ran between a CPU's entry into an EQS and its exit: by the order of its own buffer alone.
//!
//! `power:cpu_idle` is the last point before idle's EQS and the first after it where RCU watches, so what lies
//! between is a little more than the EQS: a suspect, and no more. Clocks play no part: two CPUs' buffers are
//! never compared. Where entries were overwritten nothing is known until the next event.

use std::collections::HashMap;

use super::page::{Entry, IDLE_EXIT, flag};

/// Where a CPU is, as far as its buffer told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Unknown,
    Kernel,
    Eqs,
}

/// One function called by another, within intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub ip: u64,
    pub parent_ip: u64,
}

/// What the traces of all CPUs came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    cpus: HashMap<u32, Place>,
    calls: HashMap<Call, u64>,
    /// Intervals whose begin was seen.
    pub entered: u64,
    /// Entries of functions, wherever they ran.
    pub functions: u64,
    /// Times that entries were overwritten before they were read.
    pub gaps: u64,
}

impl Intervals {
    /// Takes the next entry of a CPU.
    pub(crate) fn add(&mut self, cpu: u32, entry: Entry) {
        let place = self.cpus.entry(cpu).or_default();
        match entry {
            Entry::Missed => {
                *place = Place::Unknown;
                self.gaps += 1;
            }
            Entry::CpuIdle { state: IDLE_EXIT } | Entry::UserExit => *place = Place::Kernel,
            Entry::CpuIdle { .. } | Entry::UserEnter => {
                *place = Place::Eqs;
                self.entered += 1;
            }
            Entry::Function { ip, parent_ip, flags } => {
                self.functions += 1;
                // An irq, softirq or NMI that came out of the EQS told RCU of itself.
                let counted = flags & (flag::HARDIRQ | flag::SOFTIRQ | flag::NMI) != 0;
                if *place == Place::Eqs && !counted {
                    *self.calls.entry(Call { ip, parent_ip }).or_default() += 1;
                }
            }
        }
    }

    /// Tracing was off meanwhile: nothing is known of any CPU.
    pub(crate) fn interrupt(&mut self) {
        self.cpus.clear();
    }

    /// Every call within an interval, with its count.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (Call, u64)> {
        self.calls.iter().map(|(&call, &count)| (call, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(ip: u64, flags: u64) -> Entry {
        Entry::Function { ip, parent_ip: 0, flags }
    }

    fn suspects(intervals: &Intervals) -> Vec<(u64, u64)> {
        let mut found: Vec<_> = intervals.calls().map(|(call, count)| (call.ip, count)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn only_what_runs_between_entry_and_exit_is_a_suspect() {
        let mut intervals = Intervals::default();
        for entry in [
            function(1, 0),
            Entry::CpuIdle { state: 1 },
            function(2, 1),
            function(2, 1),
            Entry::CpuIdle { state: IDLE_EXIT },
            function(3, 0),
        ] {
            intervals.add(0, entry);
        }
        assert_eq!(suspects(&intervals), [(2, 2)]);
        assert_eq!((intervals.entered, intervals.functions), (1, 4));
    }

    #[test]
    fn interrupts_out_of_idle_are_no_suspects() {
        let mut intervals = Intervals::default();
        intervals.add(0, Entry::CpuIdle { state: 1 });
        for bits in [flag::HARDIRQ, flag::SOFTIRQ, flag::NMI, flag::NMI | flag::HARDIRQ] {
            intervals.add(0, function(5, bits | 1));
        }
        assert_eq!(suspects(&intervals), []);
    }

    #[test]
    fn one_cpu_says_nothing_of_another() {
        let mut intervals = Intervals::default();
        intervals.add(0, Entry::CpuIdle { state: 1 });
        intervals.add(1, function(7, 0));
        assert_eq!(suspects(&intervals), []);
    }

    #[test]
    fn after_a_gap_nothing_is_known_until_the_next_event() {
        let mut intervals = Intervals::default();
        intervals.add(0, Entry::CpuIdle { state: 1 });
        intervals.add(0, Entry::Missed);
        intervals.add(0, function(7, 0));
        intervals.add(0, Entry::UserEnter);
        intervals.interrupt();
        intervals.add(0, function(8, 0));
        assert_eq!(suspects(&intervals), []);
        intervals.add(0, Entry::UserEnter);
        intervals.add(0, function(9, 0));
        intervals.add(0, Entry::UserExit);
        intervals.add(0, function(10, 0));
        assert_eq!(suspects(&intervals), [(9, 1)]);
        assert_eq!(intervals.gaps, 1);
    }
}
