//! When watchpoints are on: a tenth of a second in ten, each CPU in its turn, so that never all pay at once.

use std::time::Duration;

use rcu_watch_core::units::CpuId;

const WINDOW: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_secs(10);

struct Turn {
    cpu: CpuId,
    is_on: bool,
    /// When it is switched next.
    next: Duration,
}

/// The CPUs' turns.
pub(crate) struct Duty {
    turns: Vec<Turn>,
}

impl Duty {
    /// All are off, and come on one after another over the first period.
    #[must_use]
    pub(crate) fn new(cpus: &[CpuId]) -> Self {
        let count = u32::try_from(cpus.len()).unwrap_or(u32::MAX).max(1);
        let turn = |(index, &cpu)| Turn { cpu, is_on: false, next: PERIOD / count * index };
        Self { turns: (0..).zip(cpus).map(turn).collect() }
    }

    /// What is to be switched at `now`, a time since the start. A window that was slept over is a window late.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(CpuId, bool)> {
        let mut switched = Vec::new();
        for turn in self.turns.iter_mut().filter(|turn| turn.next <= now) {
            turn.is_on = !turn.is_on;
            turn.next = now + if turn.is_on { WINDOW } else { PERIOD - WINDOW };
            switched.push((turn.cpu, turn.is_on));
        }
        switched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_window_a_period_and_none_at_the_same_time() {
        let cpus = [CpuId(0), CpuId(1), CpuId(4)];
        let mut duty = Duty::new(&cpus);
        let mut windows = [0; 5];
        let mut on: Vec<CpuId> = Vec::new();
        for now in (0..30_000).step_by(50).map(Duration::from_millis) {
            for (cpu, is_on) in duty.due(now) {
                if is_on {
                    windows[cpu.0 as usize] += 1;
                    on.push(cpu);
                } else {
                    on.retain(|&other| other != cpu);
                }
            }
            assert!(on.len() <= 1, "{on:?} at {now:?}");
        }
        assert_eq!(windows, [3, 3, 0, 0, 3]);
    }

    #[test]
    fn a_late_look_keeps_the_window_as_long_as_it_must_be() {
        let mut duty = Duty::new(&[CpuId(0)]);
        assert_eq!(duty.due(Duration::from_secs(3)), [(CpuId(0), true)]);
        assert_eq!(duty.due(Duration::from_millis(3050)), []);
        assert_eq!(duty.due(Duration::from_millis(3100)), [(CpuId(0), false)]);
        assert_eq!(duty.due(Duration::from_secs(12)), []);
    }
}
