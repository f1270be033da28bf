//! RCU's own entry and exit functions, as steps: what irq and NMI code calls, and what a guard in a handler
//! calls.
//!
//! From 4.16 on `rcu_irq_enter()` is `rcu_nmi_enter()` under another name; before, it counted in N and looked
//! away while M was not zero. That difference is the thread of 2017.

use alloc::vec;
use alloc::vec::Vec;

use super::generation::Generation;
use super::step::{Site, Step, Test};

/// `rcu_nmi_enter()` / `ct_nmi_enter()`.
#[must_use]
pub(crate) fn nmi_enter(generation: Generation) -> Vec<Step> {
    vec![
        Step::SetIncrement(2),
        Step::SkipUnless(Test::NotWatching, 2),
        Step::AddState(step(generation)),
        Step::SetIncrement(1),
        Step::AddIncrement,
    ]
}

/// `rcu_nmi_exit()` / `ct_nmi_exit()`.
#[must_use]
pub(crate) fn nmi_exit(generation: Generation) -> Vec<Step> {
    vec![
        Step::SkipUnless(Test::NmiNestingIsNot(1), 2),
        Step::AddNmiNesting(-2),
        Step::Skip(3),
        Step::SetNmiNesting(0),
        Step::Hookable(Site::RcuInternal), // rcu_prepare_for_idle, the tracepoint
        Step::AddState(step(generation)),
    ]
}

/// `rcu_irq_enter()` / `ct_irq_enter()`.
#[must_use]
pub(crate) fn irq_enter(generation: Generation) -> Vec<Step> {
    if !generation.counts_irqs_in_nesting() {
        return nmi_enter(generation);
    }
    vec![
        Step::SkipUnless(Test::NmiNestingIs(0), 3), // "Page faults can happen in NMI handlers, so check"
        Step::AddNesting(1),
        Step::SkipUnless(Test::NestingIs(1), 1),
        Step::AddState(step(generation)),
    ]
}

/// `rcu_irq_exit()` / `ct_irq_exit()`.
#[must_use]
pub(crate) fn irq_exit(generation: Generation) -> Vec<Step> {
    if !generation.counts_irqs_in_nesting() {
        return nmi_exit(generation);
    }
    vec![
        Step::SkipUnless(Test::NmiNestingIs(0), 5),
        Step::SkipUnless(Test::NestingAtMost(1), 3),
        Step::SetNesting(0),
        Step::AddState(step(generation)),
        Step::Skip(1),
        Step::AddNesting(-1),
    ]
}

const fn step(generation: Generation) -> i32 {
    generation.layout().step as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::step::{Machine, Words};
    use crate::units::StateWord;

    #[test]
    fn every_generation_watches_in_an_nmi_or_irq_out_of_an_eqs_and_not_after() {
        for generation in Generation::ALL {
            let machine = Machine { generation, nmi_mask: 0 };
            let eqs = Words { state: 0, nesting: 0, nmi_nesting: 0, preempt_count: 0, interrupts_on: false };
            for (enter, exit) in
                [(nmi_enter(generation), nmi_exit(generation)), (irq_enter(generation), irq_exit(generation))]
            {
                let mut words = eqs;
                machine.run(&enter, &mut words);
                assert!(generation.watches(StateWord(words.state)), "{generation}");
                machine.run(&exit, &mut words);
                assert!(!generation.watches(StateWord(words.state)), "{generation}");
                assert_eq!((words.nesting, words.nmi_nesting), (0, 0));
            }
        }
    }

    #[test]
    fn an_irq_in_a_task_leaves_no_trace() {
        for generation in Generation::ALL {
            let machine = Machine { generation, nmi_mask: 0 };
            let mut words = Words::at_rest(generation);
            machine.run(&irq_enter(generation), &mut words);
            machine.run(&irq_exit(generation), &mut words);
            assert_eq!(words, Words::at_rest(generation));
        }
    }
}
