//! The guards of the thread: which of them would have protected a handler at the moment of a hit.
//!
//! Nothing is looked up: the guard's own calls are run as steps of the model from the words of the hit, the
//! watching bit is read where the handler's body would be, and the way out must leave the words as they were.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::model::call;
use crate::model::kernel::KernelModel;
use crate::model::step::{Machine, Step, Test, Words};
use crate::units::StateWord;
use crate::vantage::Underlying;

/// The name is written once, for the stream and for people.
macro_rules! guards {
    ($($(#[$doc:meta])* $guard:ident = $name:literal,)*) => {
        /// What a handler can do before it uses RCU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize, EnumCount, IntoStaticStr, VariantArray)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
            pub enum Guard {
            $(
                $(#[$doc])*
                #[serde(rename = $name)]
                #[strum(serialize = $name)]
                $guard,
            )*
        }

        impl Guard {
            /// Every guard, as the thread came to them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$guard),*];
        }
    };
}

guards! {
    /// Nothing: it uses RCU as it is.
    None = "none",
    /// Tell RCU of an irq.
    IrqEnter = "rcu_irq_enter()",
    /// Tell RCU of an NMI inside of one, else of an irq.
    InNmi = "in_nmi() ? rcu_nmi_enter() : rcu_irq_enter()",
    /// Tell RCU of an NMI, wherever it is.
    NmiEnter = "rcu_nmi_enter()",
    /// Do nothing where RCU does not watch.
    SkipUnlessWatching = "skip unless rcu_is_watching()",
}

impl Guard {
    /// As it is written in the stream, and as the thread wrote it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What became of a handler behind a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The guard that was tried.
    pub guard: Guard,
    /// It ran with RCU watching, or was skipped, and the words were as before when it was through.
    pub protects: bool,
    /// Why it protects or does not, in half a sentence.
    pub because: &'static str,
}

/// The guards' calls on one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    machine: Machine,
    irq: Calls,
    nmi: Calls,
    /// What was asked last, and the answer: breaks come in runs.
    last: Option<(Underlying, Outcomes)>,
}

type Outcomes = [Outcome; Guard::ALL.len()];

#[derive(Clone, Debug)]
struct Calls {
    enter: Vec<Step>,
    exit: Vec<Step>,
}

impl Guards {
    #[must_use]
    pub(crate) fn new(kernel: &KernelModel) -> Self {
        let generation = kernel.generation;
        Self {
            machine: Machine { generation, nmi_mask: kernel.preempt.nmi_mask },
            irq: Calls { enter: call::irq_enter(generation), exit: call::irq_exit(generation) },
            nmi: Calls { enter: call::nmi_enter(generation), exit: call::nmi_exit(generation) },
            last: None,
        }
    }

    /// What each guard would have done for a handler in the code that a hit saw.
    ///
    /// Where no registers were captured, interrupts count as off, as they are in every EQS that the kernel
    /// enters itself.
    #[must_use]
    pub(crate) fn at(&self, under: &Underlying) -> Outcomes {
        let words = Words::from_rcu(&under.rcu, under.interrupts_on.unwrap_or(false));
        Guard::ALL.map(|guard| self.outcome(guard, words))
    }

    /// As [`Self::at`], for code that was much the same the last time.
    pub(crate) fn again_at(&mut self, under: &Underlying) -> Outcomes {
        let mut asked = *under;
        // Of S only these bits are looked at, of P only the NMI's.
        let layout = self.machine.generation.layout();
        asked.rcu.state.0 &= layout.watching_mask | layout.context_mask;
        asked.rcu.preempt_count.0 &= self.machine.nmi_mask;
        match self.last {
            Some((before, outcomes)) if before == asked => outcomes,
            _ => {
                let outcomes = self.at(&asked);
                self.last = Some((asked, outcomes));
                outcomes
            }
        }
    }

    fn outcome(&self, guard: Guard, words: Words) -> Outcome {
        let (protects, because) = match guard {
            Guard::None if self.watches(&words) => (true, "RCU was watching"),
            Guard::None => (false, "nothing made RCU watch"),
            Guard::SkipUnlessWatching if self.watches(&words) => (true, "RCU was watching"),
            Guard::SkipUnlessWatching => (true, "the handler would have been skipped"),
            Guard::IrqEnter => self.behind(&self.irq, words),
            Guard::NmiEnter => self.behind(&self.nmi, words),
            Guard::InNmi if self.machine.answers(Test::InNmi, &words) => self.behind(&self.nmi, words),
            Guard::InNmi => self.behind(&self.irq, words),
        };
        Outcome { guard, protects, because }
    }

    fn behind(&self, calls: &Calls, before: Words) -> (bool, &'static str) {
        let mut words = before;
        self.machine.run(&calls.enter, &mut words);
        if !self.watches(&words) {
            return if self.watches(&before) {
                (false, "the call made RCU stop watching")
            } else {
                (false, "the call had no effect: RCU still did not watch")
            };
        }
        self.machine.run(&calls.exit, &mut words);
        let restored = self.watches(&words) == self.watches(&before)
            && (words.nesting, words.nmi_nesting) == (before.nesting, before.nmi_nesting);
        if !restored {
            return (false, "the call worked and its counterpart left the counters changed");
        }
        if before.interrupts_on {
            return (
                false,
                "interrupts were on: an irq in the section can switch tasks and leave the count behind",
            );
        }
        (true, "the call made RCU watch, and its counterpart undid it")
    }

    const fn watches(&self, words: &Words) -> bool {
        self.machine.generation.watches(StateWord(words.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::{Generation, TASK_EXIT_IDLE};
    use crate::rules::tests::{idle, kernel};

    fn protecting(generation: Generation, state: u32, n: i64, m: i64, on: Option<bool>) -> Vec<&'static str> {
        let under = Underlying { rcu: idle(state, n, m, 0).rcu, interrupts_on: on };
        Guards::new(&kernel(generation))
            .at(&under)
            .iter()
            .filter(|outcome| outcome.protects)
            .map(|outcome| outcome.guard.name())
            .collect()
    }

    #[test]
    fn in_an_eqs_of_today_every_call_protects_and_doing_nothing_does_not() {
        for generation in [Generation::G1, Generation::G2, Generation::G3, Generation::G4, Generation::G5] {
            let protecting = protecting(generation, 1 & generation.layout().context_mask, 0, 0, Some(false));
            assert_eq!(
                protecting,
                [
                    "rcu_irq_enter()",
                    "in_nmi() ? rcu_nmi_enter() : rcu_irq_enter()",
                    "rcu_nmi_enter()",
                    "skip unless rcu_is_watching()"
                ]
            );
        }
    }

    #[test]
    fn in_the_window_of_2017_irq_enter_has_no_effect_and_nmi_enter_has() {
        let protecting = protecting(Generation::G0b, 0, TASK_EXIT_IDLE, 0, None);
        assert_eq!(protecting, ["rcu_nmi_enter()", "skip unless rcu_is_watching()"]);
    }

    #[test]
    fn before_the_increment_of_2017_irq_enter_makes_rcu_stop_watching() {
        let under = Underlying { rcu: idle(2, 0, 0, 0).rcu, interrupts_on: Some(false) };
        let outcomes = Guards::new(&kernel(Generation::G0b)).at(&under);
        assert_eq!(outcomes[1].because, "the call made RCU stop watching");
        assert!(outcomes[3].protects);
    }

    #[test]
    fn with_interrupts_on_no_call_protects() {
        assert_eq!(protecting(Generation::G5, 1, 0, 0, Some(true)), ["skip unless rcu_is_watching()"]);
    }
}
