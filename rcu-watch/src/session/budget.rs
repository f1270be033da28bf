//! `--max-overhead`: which probe is given up when the programs cost a CPU more than it may, and when it is taken back.
//!
//! A pure policy over what each probe cost each CPU in the last second. What the verdict rests on is never given up:
//! the checkpoint and the tracepoints of idle and NMIs stay. Watchpoints go first, since no verdict needs them; then
//! functions with a handler, the dearest first, and a run without one of these is inconclusive.
//!
//! The hard thing is not to shed by accident: a burst is over in a second or two, and under emulation, where a run of
//! a program takes a hundred times as long, a cost in time says little. So the cost must last, and the rate of hits
//! must be one that would cost on any machine.

use std::collections::BTreeMap;
use std::time::Duration;

use rcu_watch_core::units::{CpuId, ProbeId};

/// Seconds over the budget before anything is given up.
const PATIENCE: u32 = 3;
/// Hits a second on a CPU below which its programs are not what is dear.
const BUSY: f64 = 2000.0;
/// How long a probe stays away the first time; each time is twice as long as the one before.
const HOLD: Duration = Duration::from_secs(10);
const HOLD_MAX: Duration = Duration::from_secs(600);

/// What giving up a probe would mean; in the order in which they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// No verdict needs it.
    Extra,
    /// A required site.
    Handler,
    /// Never given up.
    Kept,
}

/// What a probe cost a CPU in the last second.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub probe: ProbeId,
    pub worth: Worth,
    pub cpu: CpuId,
    pub hits_per_second: f64,
    /// Run time of its program in that second, as a part of it.
    pub part: f64,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Give it up: all programs together cost `cpu` this part of its time.
    Shed {
        probe: ProbeId,
        cpu: CpuId,
        part: f64,
    },
    TakeBack {
        probe: ProbeId,
    },
}

struct Away {
    probe: ProbeId,
    /// `None` while it is attached; kept for its next hold.
    until: Option<Duration>,
    hold: Duration,
}

/// The budget of a run.
pub struct Budget {
    most: f64,
    over: u32,
    away: Vec<Away>,
}

impl Budget {
    /// `most` is the part of each CPU's time that the programs may take.
    #[must_use]
    pub const fn new(most: f64) -> Self {
        Self { most, over: 0, away: Vec::new() }
    }

    /// Asked once a second, with the loads of the second that ended at `now`.
    pub fn judge(&mut self, now: Duration, loads: &[Load]) -> Option<Change> {
        let worst = self.worst(loads);
        self.over = if worst.is_some() { self.over + 1 } else { 0 };
        if let Some((cpu, part)) = worst.filter(|_| self.over >= PATIENCE) {
            let dearest = loads
                .iter()
                .filter(|load| load.cpu == cpu && load.worth != Worth::Kept && load.part > 0.0)
                .min_by(|a, b| a.worth.cmp(&b.worth).then(b.part.total_cmp(&a.part)))?;
            self.over = 0;
            self.send_away(dearest.probe, now);
            return Some(Change::Shed { probe: dearest.probe, cpu, part });
        }
        if worst.is_some() {
            return None;
        }
        let back = self.away.iter_mut().find(|away| away.until.is_some_and(|until| until <= now))?;
        back.until = None;
        Some(Change::TakeBack { probe: back.probe })
    }

    /// The CPU that is furthest over the budget, and what it pays.
    fn worst(&self, loads: &[Load]) -> Option<(CpuId, f64)> {
        let mut sums: BTreeMap<CpuId, (f64, f64)> = BTreeMap::new();
        for load in loads {
            let (part, hits) = sums.entry(load.cpu).or_default();
            *part += load.part;
            *hits += load.hits_per_second;
        }
        sums.into_iter()
            .filter(|&(_, (part, hits))| part > self.most && hits >= BUSY)
            .map(|(cpu, (part, _))| (cpu, part))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    fn send_away(&mut self, probe: ProbeId, now: Duration) {
        match self.away.iter_mut().find(|away| away.probe == probe) {
            Some(away) => {
                away.hold = (away.hold * 2).min(HOLD_MAX);
                away.until = Some(now + away.hold);
            }
            None => self.away.push(Away { probe, until: Some(now + HOLD), hold: HOLD }),
        }
    }

    /// It is attached again, for another reason than that its time was over.
    pub(crate) fn is_back(&mut self, probe: ProbeId) {
        if let Some(away) = self.away.iter_mut().find(|away| away.probe == probe) {
            away.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: ProbeId = ProbeId(0);
    const WATCHPOINT: ProbeId = ProbeId(5);
    const CHEAP: ProbeId = ProbeId(16);
    const DEAR: ProbeId = ProbeId(17);

    fn load(probe: ProbeId, worth: Worth, part: f64) -> Load {
        Load { probe, worth, cpu: CpuId(1), hits_per_second: 1500.0, part }
    }

    fn flood() -> [Load; 4] {
        [
            load(CHECKPOINT, Worth::Kept, 0.03),
            load(CHEAP, Worth::Handler, 0.001),
            load(DEAR, Worth::Handler, 0.02),
            load(WATCHPOINT, Worth::Extra, 0.0005),
        ]
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_dearest_of_many_cpus_is_found() {
        let mut budget = Budget::new(0.01);
        let at = |cpu: u32, probe: u32| Load {
            probe: ProbeId(probe),
            worth: Worth::Handler,
            cpu: CpuId(cpu),
            hits_per_second: 1000.0,
            part: if cpu == 4000 { 0.02 } else { 0.006 } + f64::from(probe) / 1e6,
        };
        let loads: Vec<Load> = (0..8192).flat_map(|cpu| (0..4).map(move |probe| at(cpu, probe))).collect();
        let changes: Vec<_> = (1..4).filter_map(|now| budget.judge(second(now), &loads)).collect();
        assert!(
            matches!(changes[..], [Change::Shed { probe: ProbeId(3), cpu: CpuId(4000), .. }]),
            "{changes:?}"
        );
    }

    #[test]
    fn a_burst_sheds_nothing() {
        let mut budget = Budget::new(0.01);
        for now in [1, 2, 4, 5, 7, 8] {
            assert_eq!(budget.judge(second(now), &flood()), None);
            if now % 3 == 2 {
                assert_eq!(budget.judge(second(now + 1), &[]), None);
            }
        }
    }

    #[test]
    fn few_hits_shed_nothing_whatever_they_cost() {
        let mut budget = Budget::new(0.01);
        let slow = [load(DEAR, Worth::Handler, 0.5)];
        for now in 1..30 {
            assert_eq!(budget.judge(second(now), &slow), None);
        }
    }

    #[test]
    fn watchpoints_go_first_then_the_dearest_handler_and_the_checkpoint_never() {
        let mut budget = Budget::new(0.01);
        let mut loads = flood().to_vec();
        let mut shed = Vec::new();
        for now in 1..9 {
            if let Some(Change::Shed { probe, cpu, part }) = budget.judge(second(now), &loads) {
                assert_eq!(cpu, CpuId(1));
                assert!(part > 0.01);
                shed.push(probe);
                loads.retain(|load| load.probe != probe);
            }
        }
        assert_eq!(shed, [WATCHPOINT, DEAR]);
        let kept = [Load { hits_per_second: 1e6, ..load(CHECKPOINT, Worth::Kept, 0.9) }];
        for now in 9..60 {
            assert_eq!(budget.judge(second(now), &kept), None);
        }
    }

    #[test]
    fn what_was_shed_comes_back_and_stays_away_longer_the_next_time() {
        let mut budget = Budget::new(0.01);
        let mut away = Vec::new();
        let mut since = None;
        for now in 1..80 {
            let dear = Load { hits_per_second: 1e4, ..load(DEAR, Worth::Handler, 0.1) };
            let loads = if since.is_some() { Vec::new() } else { vec![dear] };
            match budget.judge(second(now), &loads) {
                Some(Change::Shed { .. }) => since = Some(now),
                Some(Change::TakeBack { probe }) => {
                    assert_eq!(probe, DEAR);
                    away.push(now - since.take().unwrap());
                }
                None => {}
            }
        }
        assert_eq!(away, [10, 20, 40]);
    }

    #[test]
    fn what_came_back_by_itself_is_not_taken_back() {
        let mut budget = Budget::new(0.01);
        let dear = Load { hits_per_second: 1e4, ..load(DEAR, Worth::Handler, 0.1) };
        let changes = (1..4).filter_map(|now| budget.judge(second(now), &[dear])).count();
        assert_eq!(changes, 1);
        budget.is_back(DEAR);
        for now in 4..60 {
            assert_eq!(budget.judge(second(now), &[]), None);
        }
    }
}
