//! Faults of the algorithm, and which rule sees each of them first.
//!
//! Each mutant changes the programs of one kernel in one place: a write dropped, doubled, or swapped with the
//! next one, a question not asked, an entry or exit left out, a stranger's write. The shortest run that makes
//! a rule speak is searched for, over the same interleavings and probes as the proof. A mutant that no rule
//! sees must have a reason.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use super::explore::Explorer;
use super::observe::Observers;
use super::step::{Site, Step};
use super::transition::{Activity, BASE, IRQ, IST, NMI, Program, Programs};
use super::variant::Variant;
use crate::finding::{RuleId, Severity};
use crate::rules::{Verdicts, judge};

/// How deep things nest in the search, and how many states it looks at.
const DEPTH: usize = 2;
const STATES_MAX: usize = 400_000;

/// One fault.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// `idle: N := 0 dropped`.
    pub what: String,
    /// Why no rule can see it, where none can.
    pub invisible: Option<&'static str>,
    programs: Programs,
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The rules that said more than info at the end of that run.
    pub rules: Vec<RuleId>,
    /// Steps of the shortest run.
    pub steps: usize,
}

impl Mutant {
    /// Searches for the shortest run that makes a rule say more than info.
    #[must_use]
    pub fn catch(&self) -> Option<Caught> {
        let observers = Observers::new(&self.programs.variant);
        let mut verdicts = Verdicts::default();
        let found = Explorer::new(&self.programs, DEPTH).nearest(STATES_MAX, |explorer, state| {
            let mut rules = Vec::new();
            observers.views(explorer, state, |view| {
                judge(view.kernel, view.probe, &view.snapshot, &mut verdicts);
                rules.extend(
                    verdicts
                        .iter()
                        .filter(|verdict| {
                            verdict.severity > Severity::Info
                                && Some((verdict.rule, verdict.severity)) != view.expected
                        })
                        .map(|verdict| verdict.rule),
                );
            });
            rules.sort_unstable();
            rules.dedup();
            (!rules.is_empty()).then_some(rules)
        });
        found.map(|(rules, steps)| Caught { rules, steps })
    }
}

/// Every mutant of a kernel.
#[must_use]
pub fn all(variant: Variant) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let idle = Programs::new(variant, Activity::Idle);
    for program in [BASE, NMI, IST, IRQ] {
        each_step(&idle, program, &mut mutants);
        left_out(&idle, program, &mut mutants);
    }
    around_the_body(&idle, &mut mutants);
    each_step(&Programs::new(variant, Activity::UserInEqs), BASE, &mut mutants);
    each_step(&Programs::new(variant, Activity::Task), BASE, &mut mutants);
    strangers(variant, &mut mutants);
    mutants
}

/// Drops, doubles and swaps the writes of a program, and leaves its questions unasked.
fn each_step(programs: &Programs, program: u8, mutants: &mut Vec<Mutant>) {
    let steps = &programs.table[usize::from(program)].steps;
    for (at, &step) in steps.iter().enumerate() {
        if let Step::SkipUnless(_, n) = step {
            add(programs, program, mutants, &format!("{step} never skips"), |steps| {
                steps[at] = Step::Skip(0);
            });
            add(programs, program, mutants, &format!("{step} always skips"), |steps| {
                steps[at] = Step::Skip(n);
            });
        }
        if !step.is_write() {
            continue;
        }
        add(programs, program, mutants, &format!("{step} dropped"), |steps| steps[at] = Step::Skip(0));
        if let Some(twice) = doubled(step) {
            add(programs, program, mutants, &format!("{step} doubled"), |steps| steps[at] = twice);
        }
        // What can be hooked in between stays where it is; a jump ends the stretch.
        let next = steps[at + 1..]
            .iter()
            .position(|step| !matches!(step, Step::Hookable(_)))
            .map(|offset| at + 1 + offset);
        if let Some(next) = next
            && steps[next].is_write()
        {
            add(programs, program, mutants, &format!("{step} after {}", steps[next]), |steps| {
                steps.swap(at, next);
            });
        }
    }
}

fn doubled(step: Step) -> Option<Step> {
    Some(match step {
        Step::AddState(n) => Step::AddState(2 * n),
        Step::AddNesting(n) => Step::AddNesting(2 * n),
        Step::AddNmiNesting(n) => Step::AddNmiNesting(2 * n),
        Step::AddPreempt(n) => Step::AddPreempt(2 * n),
        Step::AddIncrement => Step::AddIncrementTwice,
        _ => return None,
    })
}

/// Leaves out what a program tells RCU: on the way in, on the way out, or both.
fn left_out(programs: &Programs, program: u8, mutants: &mut Vec<Mutant>) {
    let steps = &programs.table[usize::from(program)].steps;
    let middle = steps.iter().position(|step| {
        matches!(step, Step::Hookable(Site::IrqTold | Site::NmiBody | Site::IstBody) | Step::Interrupts(true))
    });
    let Some(middle) = middle else {
        return;
    };
    let mute = |steps: &mut [Step]| {
        for step in steps {
            if step.is_rcus() {
                *step = Step::Skip(0);
            }
        }
    };
    let mut part = |what: &str, edit: &dyn Fn(&mut Vec<Step>)| {
        add(programs, program, mutants, what, edit);
    };
    part("the way in does not tell RCU", &|steps| mute(&mut steps[..middle]));
    part("the way out does not tell RCU", &|steps| mute(&mut steps[middle..]));
    part("RCU is told nothing", &|steps| mute(steps));
}

/// NMI bits that are cleared early or set late, and interrupts that are enabled in a handler.
fn around_the_body(programs: &Programs, mutants: &mut Vec<Mutant>) {
    for program in [NMI, IST] {
        let steps = &programs.table[usize::from(program)].steps;
        let Some(body) =
            steps.iter().position(|step| matches!(step, Step::Hookable(Site::NmiBody | Site::IstBody)))
        else {
            continue;
        };
        add(programs, program, mutants, "interrupts enabled in the handler", |steps| {
            steps.insert(body, Step::Interrupts(true));
            steps.push(Step::Interrupts(false));
        });
        if let Some(Step::AddPreempt(bits)) = steps.last().copied()
            && bits < 0
        {
            add(programs, program, mutants, "NMI bits cleared before the handler", |steps| {
                steps.pop();
                steps.insert(body, Step::AddPreempt(bits));
            });
        }
    }
}

/// Something that is not RCU writes a word, in a task and in an EQS.
fn strangers(variant: Variant, mutants: &mut Vec<Mutant>) {
    let step = variant.generation.layout().step.cast_signed();
    let writes = [
        Step::StrangeState(step),
        Step::StrangeState(-step),
        Step::StrangeState(2 * step),
        Step::StrangeNesting(1),
        Step::StrangeNesting(-1),
        Step::StrangeNmiNesting(1),
        Step::StrangeNmiNesting(2),
        Step::StrangeNmiNesting(-2),
    ];
    for (activity, before) in
        [(Activity::Task, Step::Hookable(Site::ContextSwitch)), (Activity::Idle, Step::Interrupts(true))]
    {
        let programs = Programs::new(variant, activity);
        for write in writes {
            add(&programs, BASE, mutants, &write.to_string(), |steps| {
                if let Some(at) = steps.iter().position(|&step| step == before) {
                    steps.insert(at, write);
                }
            });
        }
    }
}

fn add(
    programs: &Programs,
    program: u8,
    mutants: &mut Vec<Mutant>,
    what: &str,
    edit: impl Fn(&mut Vec<Step>),
) {
    let mut programs = programs.clone();
    let Program { name, steps } = &mut programs.table[usize::from(program)];
    let before = steps.clone();
    edit(steps);
    if *steps == before {
        return;
    }
    let what = format!("{name}: {what}");
    let invisible = reason(&what);
    mutants.push(Mutant { what, invisible, programs });
}

/// Why no rule can see a mutant.
fn reason(what: &str) -> Option<&'static str> {
    const REASONS: &[(&[&str], &str)] = &[
        (
            &["if NestingIs(1) never skips", "if NestingIsNot(0) always skips"],
            "nothing nests a second task level: the answer is always the same",
        ),
        (
            &[": N += -1 dropped", ": N += -1 doubled", ": N += 1 dropped", ": N += 1 doubled"],
            "nothing nests a second task level: the branch is never taken",
        ),
        (&["interrupts on dropped"], "interrupts stay off: latency, and no break of RCU"),
        (&["task: interrupts"], "RCU asks nothing of interrupts in a task"),
        (&["after incby := "], "incby is a local variable: no write changed its place"),
        (
            &["irq: P += 0x10000 after", "irq: P -= 0xff00 after", "irq: interrupts off after P"],
            "M counts the irq all along; that P shows less or longer is legal",
        ),
        (&["irq: P -= 0x100 dropped"], "no rule reads the softirq bits: softirqs need no count"),
        (&["idle: RCU is told nothing"], "RCU takes the CPU for busy and waits for it: a cost, and no break"),
        (
            &["task: S += "],
            "a momentary EQS leaves the watching bit as it is: only a waiting grace period sees the count",
        ),
    ];
    REASONS
        .iter()
        .find(|(patterns, _)| patterns.iter().any(|pattern| what.contains(pattern)))
        .map(|&(_, reason)| reason)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AddState(n) => write!(f, "S += {n}"),
            Self::SetNesting(n) => write!(f, "N := {n:#x}"),
            Self::AddNesting(n) => write!(f, "N += {n}"),
            Self::SetNmiNesting(n) => write!(f, "M := {n:#x}"),
            Self::AddNmiNesting(n) => write!(f, "M += {n}"),
            Self::SetIncrement(n) => write!(f, "incby := {n}"),
            Self::AddIncrement => write!(f, "M += incby"),
            Self::AddIncrementTwice => write!(f, "M += 2 incby"),
            Self::AddPreempt(n) if n < 0 => write!(f, "P -= {:#x}", -n),
            Self::AddPreempt(n) => write!(f, "P += {n:#x}"),
            Self::Interrupts(on) => write!(f, "interrupts {}", if on { "on" } else { "off" }),
            Self::InterruptsAsBefore => write!(f, "interrupts as before"),
            Self::SkipUnless(test, _) => write!(f, "if {test:?}"),
            Self::Skip(_) => write!(f, "else"),
            Self::Mode(mode) => write!(f, "{mode:?}"),
            Self::Hookable(site) => write!(f, "{site:?}"),
            Self::StrangeState(n) => write!(f, "a stranger's S += {n}"),
            Self::StrangeNesting(n) => write!(f, "a stranger's N += {n}"),
            Self::StrangeNmiNesting(n) => write!(f, "a stranger's M += {n}"),
        }
    }
}

/// All mutants of a kernel with what caught them, as a table.
#[must_use]
pub fn table(variant: Variant) -> Table {
    let rows = all(variant).into_iter().map(|mutant| (mutant.catch(), mutant)).collect();
    Table { variant, rows }
}

/// Mutants of one kernel, and what caught each.
#[derive(Clone, Debug)]
pub struct Table {
    /// The kernel whose algorithm was changed.
    pub variant: Variant,
    /// Each mutant, with what caught it; `None` where nothing did.
    pub rows: Vec<(Option<Caught>, Mutant)>,
}

impl Table {
    /// How many mutants a rule caught.
    #[must_use]
    pub fn caught(&self) -> usize {
        self.rows.iter().filter(|(caught, _)| caught.is_some()).count()
    }

    /// Mutants that no rule sees and nobody explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Mutant> {
        self.rows
            .iter()
            .filter(|(caught, mutant)| caught.is_none() && mutant.invisible.is_none())
            .map(|(_, mutant)| mutant)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (caught, mutant) in &self.rows {
            write!(f, "{:<4} {:<58} ", self.variant.name, mutant.what)?;
            match (caught, mutant.invisible) {
                (Some(Caught { rules, steps }), _) => {
                    let rules: Vec<_> = rules.iter().map(|rule| rule.code()).collect();
                    writeln!(f, "{:<14} {steps:>3} steps", rules.join(" "))?;
                }
                (None, Some(reason)) => writeln!(f, "invisible: {reason}")?,
                (None, None) => writeln!(f, "NOT CAUGHT")?,
            }
        }
        let invisible = self.rows.len() - self.caught() - self.unexplained().count();
        write!(
            f,
            "{}: {} mutants, {} caught by a rule, {invisible} invisible and explained, {} not caught",
            self.variant.name,
            self.rows.len(),
            self.caught(),
            self.unexplained().count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;

    fn is_caught_or_explained(generation: Generation) {
        let table = table(Variant::of(generation));
        assert_eq!(table.unexplained().count(), 0, "{table}");
        assert!(table.caught() >= 40, "{table}");
        let caught_though_invisible: Vec<_> = table
            .rows
            .iter()
            .filter(|(caught, mutant)| caught.is_some() && mutant.invisible.is_some())
            .map(|(_, mutant)| &mutant.what)
            .collect();
        assert_eq!(caught_though_invisible, [""; 0]);
    }

    #[test]
    fn every_mutant_of_g2_is_caught_or_explained() {
        is_caught_or_explained(Generation::G2);
    }

    #[test]
    fn every_mutant_of_g4_is_caught_or_explained() {
        is_caught_or_explained(Generation::G4);
    }

    #[test]
    fn every_mutant_of_g5_is_caught_or_explained() {
        is_caught_or_explained(Generation::G5);
    }
}
