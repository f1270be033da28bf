//! The algorithm's memory writes as data, one step each, and the CPU that they act on.
//!
//! A [`Program`](super::transition::Program) is a list of [`Step`]s with forward jumps only, so it always ends. Everything between two
//! steps is where an NMI can land; the model's explorer puts one there.

use super::generation::Generation;
use crate::snapshot::RcuState;
use crate::units::{Counter, PreemptCount, StateWord};

/// The words that the algorithm reads and writes, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Words {
    pub state: u32,
    pub nesting: i64,
    pub nmi_nesting: i64,
    pub preempt_count: u64,
    pub interrupts_on: bool,
}

impl Words {
    /// A task's words, with no transition counted in S yet.
    #[must_use]
    pub(crate) const fn at_rest(generation: Generation) -> Self {
        let layout = generation.layout();
        Self {
            state: layout.watching_mask,
            nesting: layout.rest_nesting,
            nmi_nesting: layout.rest_nmi_nesting,
            preempt_count: 0,
            interrupts_on: true,
        }
    }

    #[must_use]
    pub(crate) const fn from_rcu(rcu: &RcuState, interrupts_on: bool) -> Self {
        Self {
            state: rcu.state.0,
            nesting: rcu.nesting.0,
            nmi_nesting: rcu.nmi_nesting.0,
            preempt_count: rcu.preempt_count.0,
            interrupts_on,
        }
    }

    #[must_use]
    pub(crate) const fn to_rcu(self) -> RcuState {
        RcuState {
            state: StateWord(self.state),
            nesting: Counter(self.nesting),
            nmi_nesting: Counter(self.nmi_nesting),
            preempt_count: PreemptCount(self.preempt_count),
        }
    }
}

/// A question that the algorithm asks before it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    Watching,
    NotWatching,
    NestingIs(i64),
    NestingIsNot(i64),
    NestingAtMost(i64),
    /// Before 4.16: any task counted in N.
    NestingHasTaskBits,
    /// Before 4.16: exactly one.
    NestingIsOneTask,
    NmiNestingIs(i64),
    NmiNestingIsNot(i64),
    InNmi,
}

/// One step: a memory write, a question, or a place where other code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// S += n.
    AddState(i32),
    /// N := n.
    SetNesting(i64),
    /// N += n.
    AddNesting(i64),
    /// M := n.
    SetNmiNesting(i64),
    /// M += n.
    AddNmiNesting(i64),
    /// The local `incby` := n.
    SetIncrement(i64),
    /// M += `incby`.
    AddIncrement,
    /// M += `incby`, twice: no kernel does it.
    AddIncrementTwice,
    /// P += n.
    AddPreempt(i64),
    /// RFLAGS.IF := on.
    Interrupts(bool),
    /// RFLAGS.IF := what it was in the interrupted code.
    InterruptsAsBefore,
    /// Jumps over the next n steps unless the answer is yes.
    SkipUnless(Test, u8),
    /// Jumps over the next n steps.
    Skip(u8),
    /// What runs from here on.
    Mode(Mode),
    /// Code that can be hooked runs here.
    Hookable(Site),
    /// A write by something that is not RCU.
    StrangeState(i32),
    StrangeNesting(i64),
    StrangeNmiNesting(i64),
}

impl Step {
    /// Whether it writes a word, P or IF.
    #[must_use]
    pub(crate) const fn is_write(self) -> bool {
        self.is_rcus() || matches!(self, Self::AddPreempt(_) | Self::Interrupts(_))
    }

    /// Whether it is one of RCU's own writes.
    #[must_use]
    pub(crate) const fn is_rcus(self) -> bool {
        matches!(
            self,
            Self::AddState(_)
                | Self::SetNesting(_)
                | Self::AddNesting(_)
                | Self::SetNmiNesting(_)
                | Self::AddNmiNesting(_)
                | Self::SetIncrement(_)
                | Self::AddIncrement
                | Self::AddIncrementTwice
        )
    }
}

/// What a CPU runs outside irqs and NMIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    Kernel,
    /// User code of a nohz_full CPU: an EQS.
    UserInEqs,
    /// User code of any other CPU.
    User,
    Guest,
}

/// What kind of hookable code runs at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Site {
    /// Any kernel function.
    Anything,
    /// RCU's own functions: only those.
    RcuInternal,
    /// What the way out of an EQS calls before N and M are set, where it calls anything.
    Callout,
    /// A function that can be hooked and runs in an EQS (up to 6.2).
    Victim,
    /// A context switch: the scheduler's tracepoint.
    ContextSwitch,
    /// Right after RCU was told of an irq, before P shows it (`irq_enter_rcu`).
    IrqTold,
    /// The body of an irq handler.
    IrqBody,
    /// A softirq on the way out of an irq, interrupts on.
    Softirq,
    /// The body of an NMI handler.
    NmiBody,
    /// The body of a #BP, #DB or #MC handler.
    IstBody,
    /// The way into an NMI before P shows it (up to 5.7).
    NmiEdge,
    /// The way into an exception before RCU was told of it (up to 5.7).
    IstEdge,
}

/// What runs: the words, and the local variable of the function that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Registers {
    /// Index of the next step.
    pub at: u16,
    /// `incby` of `rcu_nmi_enter()`.
    pub increment: i8,
}

impl Registers {
    pub(crate) const START: Self = Self { at: 0, increment: 0 };
}

/// What the machine needs to know to run a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub generation: Generation,
    pub nmi_mask: u64,
}

impl Machine {
    #[must_use]
    pub(crate) const fn answers(&self, test: Test, words: &Words) -> bool {
        match test {
            Test::Watching => self.generation.watches(StateWord(words.state)),
            Test::NotWatching => !self.generation.watches(StateWord(words.state)),
            Test::NestingIs(n) => words.nesting == n,
            Test::NestingIsNot(n) => words.nesting != n,
            Test::NestingAtMost(n) => words.nesting <= n,
            Test::NestingHasTaskBits => words.nesting & super::generation::TASK_NEST_MASK != 0,
            Test::NestingIsOneTask => {
                words.nesting & super::generation::TASK_NEST_MASK == super::generation::TASK_NEST_VALUE
            }
            Test::NmiNestingIs(n) => words.nmi_nesting == n,
            Test::NmiNestingIsNot(n) => words.nmi_nesting != n,
            Test::InNmi => words.preempt_count & self.nmi_mask != 0,
        }
    }

    /// Does one step. A step that needs the interrupted code's words or changes the CPU's mode is left to the explorer,
    /// which knows them.
    pub(crate) const fn step(&self, step: Step, words: &mut Words, registers: &mut Registers) {
        let mut next = registers.at + 1;
        match step {
            Step::AddState(n) => words.state = words.state.wrapping_add_signed(n),
            Step::SetNesting(n) => words.nesting = n,
            Step::AddNesting(n) => words.nesting = words.nesting.wrapping_add(n),
            Step::SetNmiNesting(n) => words.nmi_nesting = n,
            Step::AddNmiNesting(n) => words.nmi_nesting = words.nmi_nesting.wrapping_add(n),
            Step::SetIncrement(n) => registers.increment = n as i8,
            Step::AddIncrement => {
                words.nmi_nesting = words.nmi_nesting.wrapping_add(registers.increment as i64);
            }
            Step::AddIncrementTwice => {
                words.nmi_nesting = words.nmi_nesting.wrapping_add(2 * registers.increment as i64);
            }
            Step::StrangeState(n) => words.state = words.state.wrapping_add_signed(n),
            Step::StrangeNesting(n) => words.nesting = words.nesting.wrapping_add(n),
            Step::StrangeNmiNesting(n) => words.nmi_nesting = words.nmi_nesting.wrapping_add(n),
            Step::AddPreempt(n) => words.preempt_count = words.preempt_count.wrapping_add_signed(n),
            Step::Interrupts(on) => words.interrupts_on = on,
            Step::SkipUnless(test, n) => {
                if !self.answers(test, words) {
                    next += n as u16;
                }
            }
            Step::Skip(n) => next += n as u16,
            Step::Hookable(_) | Step::Mode(_) | Step::InterruptsAsBefore => {}
        }
        registers.at = next;
    }

    /// Runs a program to its end with nothing in between.
    pub(crate) fn run(&self, program: &[Step], words: &mut Words) {
        let mut registers = Registers::START;
        while let Some(&step) = program.get(usize::from(registers.at)) {
            self.step(step, words, &mut registers);
        }
    }
}
