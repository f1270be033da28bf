//! Which slices are open on one CPU's track.

use rcu_watch_core::probe::Point;
use rcu_watch_core::stream::Seen;

/// A slice: something that a CPU is in, from an entry to its exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// An extended quiescent state: RCU does not watch.
    Eqs,
    Irq,
}

impl Slice {
    /// `arg` of an `eqs_enter` is the idle state.
    pub(super) fn name(self, arg: u64) -> String {
        match self {
            Self::Eqs => format!("EQS C{arg}"),
            Self::Irq => "irq".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begin(Slice),
    End,
    Instant(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Cpu {
    open: Vec<Slice>,
}

impl Cpu {
    /// What this record does to the track.
    pub(super) fn steps(&mut self, seen: &Seen<'_>) -> Vec<Step> {
        match seen.point {
            // Idle is not entered twice: the exit between was not seen.
            Point::EqsEnter => {
                let mut steps = self.close(Slice::Eqs);
                steps.push(self.begin(Slice::Eqs));
                steps
            }
            Point::EqsExit => self.close(Slice::Eqs),
            Point::IrqEnter => vec![self.begin(Slice::Irq)],
            Point::IrqExit => self.close(Slice::Irq),
            Point::NmiEnter => vec![Step::Instant("NMI")],
            Point::IstEnter => vec![Step::Instant("exception")],
            // A task runs: whatever seemed open has ended unseen.
            Point::Checkpoint => self.open.drain(..).map(|_| Step::End).collect(),
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, slice: Slice) -> Step {
        self.open.push(slice);
        Step::Begin(slice)
    }

    /// Ends `slice` and what was opened inside it; nothing if it is not open.
    fn close(&mut self, slice: Slice) -> Vec<Step> {
        let Some(at) = self.open.iter().rposition(|open| *open == slice) else { return Vec::new() };
        self.open.drain(at..).map(|_| Step::End).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcu_watch_core::units::{CpuId, Nanos};

    fn steps(cpu: &mut Cpu, point: Point) -> Vec<Step> {
        cpu.steps(&Seen {
            ts: Nanos(0),
            cpu: CpuId(0),
            point,
            symbol: "",
            watching: true,
            hardirq: false,
            nmi: false,
            pid: 0,
            arg: 1,
        })
    }

    #[test]
    fn an_irq_nests_in_idle() {
        let mut cpu = Cpu::default();
        assert_eq!(steps(&mut cpu, Point::EqsEnter), [Step::Begin(Slice::Eqs)]);
        assert_eq!(steps(&mut cpu, Point::IrqEnter), [Step::Begin(Slice::Irq)]);
        assert_eq!(steps(&mut cpu, Point::IrqExit), [Step::End]);
        assert_eq!(steps(&mut cpu, Point::EqsExit), [Step::End]);
    }

    #[test]
    fn an_unseen_end_is_made_up_for_and_an_unseen_begin_is_not() {
        let mut cpu = Cpu::default();
        assert_eq!(steps(&mut cpu, Point::EqsExit), []);
        steps(&mut cpu, Point::EqsEnter);
        steps(&mut cpu, Point::IrqEnter);
        assert_eq!(steps(&mut cpu, Point::EqsExit), [Step::End, Step::End]);
        steps(&mut cpu, Point::EqsEnter);
        assert_eq!(steps(&mut cpu, Point::EqsEnter), [Step::End, Step::Begin(Slice::Eqs)]);
        assert_eq!(steps(&mut cpu, Point::Checkpoint), [Step::End]);
    }
}
