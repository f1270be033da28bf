//! Every interleaving: an NMI, an exception or an irq at every step of every transition, nested.
//!
//! A state is the words and the stack of what runs. From each state the top program takes a step, or something
//! else comes in on top of it. Each state is visited once. The algorithm reads nothing of S's counter but the
//! watching bit, so the counter is cut to two turns of that bit: this makes the space finite, and the search
//! exhaustive to its depth. (A search crate would bring actors and a clock along; the loop is forty lines.)

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hashbrown::HashSet;

use super::generation::Generation;
use super::step::{Machine, Mode, Registers, Step, Words};
use super::transition::{BASE, IRQ, IRQ_FROM_USER, IST, IST_FROM_USER, NMI, Programs};
use crate::units::StateWord;

/// The deepest stack of programs: the base, and what nests on it.
pub(crate) const FRAMES_MAX: usize = 6;

/// A program that runs or is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub program: u8,
    pub registers: Registers,
    /// The words, and the mode, of the code that this frame interrupted.
    pub before: Words,
    pub before_mode: Mode,
}

/// One CPU at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub words: Words,
    pub mode: Mode,
    frames: [Frame; FRAMES_MAX],
    depth: u8,
}

impl State {
    #[must_use]
    pub(crate) fn start(generation: Generation) -> Self {
        Self::with(Words::at_rest(generation))
    }

    /// The base at its first step, with these words.
    #[must_use]
    pub(crate) fn with(words: Words) -> Self {
        let frame =
            Frame { program: BASE, registers: Registers::START, before: words, before_mode: Mode::Kernel };
        Self { words, mode: Mode::Kernel, frames: [frame; FRAMES_MAX], depth: 0 }
    }

    /// What runs, innermost last.
    #[must_use]
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames[..=usize::from(self.depth)]
    }

    #[must_use]
    pub(crate) fn top(&self) -> &Frame {
        &self.frames[usize::from(self.depth)]
    }

    /// How many programs nest on the base.
    #[must_use]
    pub(crate) const fn depth(&self) -> usize {
        self.depth as usize
    }
}

/// Something that the algorithm must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub what: String,
    pub state: Box<State>,
}

/// What was explored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Explored {
    pub states: u64,
    pub steps: u64,
    pub violations: Vec<Violation>,
}

/// Runs the programs of one CPU.
#[derive(Clone, Debug)]
pub(crate) struct Explorer<'a> {
    programs: &'a Programs,
    machine: Machine,
    /// How many programs may nest on the base.
    nested_max: usize,
    /// The bits of S that are kept: two turns of the watching bit.
    state_mask: u32,
    /// Whether the base starts over at its end.
    is_endless: bool,
}

impl<'a> Explorer<'a> {
    #[must_use]
    pub(crate) fn new(programs: &'a Programs, nested_max: usize) -> Self {
        let generation = programs.variant.generation;
        Self {
            programs,
            machine: Machine { generation, nmi_mask: programs.variant.kernel().preempt.nmi_mask },
            nested_max: nested_max.min(FRAMES_MAX - 1),
            state_mask: generation.layout().watching_mask * 2 - 1,
            is_endless: true,
        }
    }

    /// Lets the base run once.
    #[must_use]
    pub(crate) const fn once(mut self) -> Self {
        self.is_endless = false;
        self
    }

    #[must_use]
    pub(crate) const fn programs(&self) -> &Programs {
        self.programs
    }

    /// The step that the top program takes next; `None` at its end.
    #[must_use]
    pub(crate) fn next_step(&self, state: &State) -> Option<Step> {
        self.step_of(state.top())
    }

    /// The step that a frame takes when it runs next.
    #[must_use]
    pub(crate) fn step_of(&self, frame: &Frame) -> Option<Step> {
        self.steps(frame.program).get(usize::from(frame.registers.at)).copied()
    }

    /// The step that a frame took last, where no jump led past it.
    #[must_use]
    pub(crate) fn step_before(&self, frame: &Frame) -> Option<Step> {
        let at = usize::from(frame.registers.at).checked_sub(1)?;
        self.steps(frame.program).get(at).copied()
    }

    fn steps(&self, program: u8) -> &[Step] {
        &self.programs.table[usize::from(program)].steps
    }

    /// Visits every reachable state, depth first.
    pub(crate) fn explore(&self, visit: impl FnMut(&Self, &State) -> Result<(), String>) -> Explored {
        self.explore_from(State::start(self.programs.variant.generation), visit)
    }

    /// Visits every state that can be reached from `start`.
    pub(crate) fn explore_from(
        &self,
        start: State,
        mut visit: impl FnMut(&Self, &State) -> Result<(), String>,
    ) -> Explored {
        let mut explored = Explored::default();
        let mut seen = HashSet::new();
        let mut todo = vec![start];
        while let Some(state) = todo.pop() {
            if !seen.insert(fingerprint(&state)) {
                continue;
            }
            explored.states += 1;
            if let Err(what) = visit(self, &state) {
                explored.violations.push(Violation { what, state: Box::new(state) });
            }
            for next in self.successors(&state) {
                explored.steps += 1;
                match next {
                    Ok(next) => todo.push(next),
                    Err(what) => explored.violations.push(Violation { what, state: Box::new(state) }),
                }
            }
        }
        explored
    }

    /// Visits states in the order of their distance from the start, until `visit` finds what it looks for.
    ///
    /// Gives that, and the number of steps of the shortest run to it. `states_max` bounds the search.
    pub(crate) fn nearest<T>(
        &self,
        states_max: usize,
        mut visit: impl FnMut(&Self, &State) -> Option<T>,
    ) -> Option<(T, usize)> {
        let mut seen = HashSet::new();
        let mut now = vec![State::start(self.programs.variant.generation)];
        let mut next = Vec::new();
        for distance in 0.. {
            for state in now.drain(..) {
                if !seen.insert(fingerprint(&state)) {
                    continue;
                }
                if let Some(found) = visit(self, &state) {
                    return Some((found, distance));
                }
                // A program that leaves other words than it found is what is looked for here.
                next.extend(self.successors(&state).map(|next| match next {
                    Ok(next) => next,
                    Err(_) => self.returned(&state),
                }));
            }
            core::mem::swap(&mut now, &mut next);
            if now.is_empty() || seen.len() > states_max {
                return None;
            }
        }
        None
    }

    /// What can happen next; an error where a program ends and the words are not as before it.
    pub(crate) fn successors(&self, state: &State) -> impl Iterator<Item = Result<State, String>> {
        let is_over = !self.is_endless && state.depth == 0 && self.next_step(state).is_none();
        let proceeds = (!is_over).then(|| self.proceed(state));
        let comes_in = [NMI, IST, IRQ].into_iter().filter_map(|kind| self.comes_in(state, kind).map(Ok));
        proceeds.into_iter().chain(comes_in)
    }

    fn proceed(&self, state: &State) -> Result<State, String> {
        let Some(step) = self.next_step(state) else {
            return if state.depth == 0 || self.is_restored(state) {
                Ok(self.returned(state))
            } else {
                let name = self.programs.table[usize::from(state.top().program)].name;
                Err(format!("{name} leaves other words than it found"))
            };
        };
        let mut next = *state;
        let frame = &mut next.frames[usize::from(state.depth)];
        self.machine.step(step, &mut next.words, &mut frame.registers);
        match step {
            Step::Mode(mode) => next.mode = mode,
            Step::InterruptsAsBefore => next.words.interrupts_on = frame.before.interrupts_on,
            _ => {}
        }
        next.words.state &= self.state_mask;
        Ok(next)
    }

    /// The state after the top program's end: below goes on, the base starts over.
    fn returned(&self, state: &State) -> State {
        let mut next = *state;
        let top = *state.top();
        if state.depth == 0 {
            next.frames[0].registers = Registers::START;
        } else {
            // What is above the top is equal in equal states.
            next.frames[usize::from(state.depth)] = State::start(self.machine.generation).frames[0];
            next.depth -= 1;
            next.words.interrupts_on = top.before.interrupts_on; // iret
            next.mode = top.before_mode;
        }
        next
    }

    fn is_restored(&self, state: &State) -> bool {
        let before = &state.top().before;
        let low_bits =
            self.machine.generation.layout().watching_mask | self.machine.generation.layout().context_mask;
        (before.state ^ state.words.state) & low_bits == 0
            && before.nesting == state.words.nesting
            && before.nmi_nesting == state.words.nmi_nesting
            && before.preempt_count == state.words.preempt_count
    }

    /// `kind` comes in before the next step, where the hardware lets it.
    ///
    /// An NMI is held back until the one that runs returns; exceptions nest in anything.
    fn comes_in(&self, state: &State, kind: u8) -> Option<State> {
        if state.depth() >= self.nested_max {
            return None;
        }
        let program = match (kind, state.mode) {
            (NMI, _) | (_, Mode::Kernel) => kind,
            (_, Mode::Guest) => return None, // the way out of the guest comes first
            (IRQ, Mode::User | Mode::UserInEqs) => IRQ_FROM_USER,
            (_, Mode::User | Mode::UserInEqs) => IST_FROM_USER,
        };
        if kind == NMI && state.frames().iter().any(|frame| frame.program == NMI) {
            return None;
        }
        if kind == IRQ && !state.words.interrupts_on {
            return None;
        }
        let mut next = *state;
        next.depth += 1;
        next.frames[usize::from(next.depth)] =
            Frame { program, registers: Registers::START, before: state.words, before_mode: state.mode };
        next.mode = Mode::Kernel;
        next.words.interrupts_on = false;
        Some(next)
    }

    /// The invariants, which hold at every instruction (docs/kernel.md, Legal states).
    ///
    /// # Errors
    /// The one that does not hold.
    pub(crate) fn invariants(&self, words: &Words) -> Result<(), String> {
        let generation = self.machine.generation;
        let layout = generation.layout();
        let watching = generation.watches(StateWord(words.state));
        let broken = if words.nmi_nesting < 0 || words.nesting < 0 {
            "I3: a counter is below zero"
        } else if generation.counts_irqs_in_nesting() {
            // I1 came with 4.16; before, M alone was never left behind.
            if watching || words.nmi_nesting == 0 {
                return Ok(());
            }
            "I1: M counts and RCU does not watch"
        } else if !watching && (words.nesting != 0 || words.nmi_nesting != 0) {
            "I1: N or M counts and RCU does not watch"
        } else if !watching && layout.context_mask != 0 && words.state & layout.context_mask == 0 {
            "I2: the kernel's context and RCU does not watch"
        } else if words.nmi_nesting >= layout.rest_nmi_nesting
            && (words.nmi_nesting - layout.rest_nmi_nesting) % 2 != 0
        {
            "I4: M is odd above its rest"
        } else {
            return Ok(());
        };
        Err(broken.to_owned())
    }
}

/// 128 bits that stand for a state: with some millions of states, two that share them by chance are not to be
/// expected before the hardware errs.
pub(crate) fn fingerprint(state: &State) -> u128 {
    let mut lanes = Lanes(0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
    state.words.hash(&mut lanes);
    state.mode.hash(&mut lanes);
    state.frames().hash(&mut lanes);
    u128::from(lanes.0) << 64 | u128::from(lanes.1)
}

/// Two multiply-and-fold lanes: the standard hasher takes most of the search's time.
struct Lanes(u64, u64);

impl Lanes {
    const fn mix(&mut self, value: u64) {
        const fn fold(value: u64, key: u64) -> u64 {
            let product = value as u128 * key as u128;
            (product >> 64) as u64 ^ product as u64
        }
        self.0 = fold(self.0 ^ value, 0xff51_afd7_ed55_8ccd).wrapping_add(value);
        self.1 = fold(self.1.rotate_left(23) ^ value, 0xc4ce_b9fe_1a85_ec53).wrapping_add(value);
    }
}

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.mix(u64::from(byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}
