//! The thread's open question, answered for every situation: which guard protects a handler where.
//!
//! Wherever the model lets hookable code run, a handler behind each guard is run from those words, with an
//! NMI, an exception or an irq at each of its own steps. It is protected where RCU watches in its body, and in
//! those of all that interrupts it, and the words are as before when it is through.

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::call;
use super::explore::{Explorer, State};
use super::generation::{Base, Generation};
use super::kernel::PreemptLayout;
use super::step::{Site, Step, Test, Words};
use super::transition::{Activity, BASE, Program, Programs};
use super::variant::Variant;
use crate::rules::guard::Guard;
use crate::units::{Counter, PreemptCount, StateWord};

/// How deep things nest on the way to a handler, and on top of it.
const DEPTH_BELOW: usize = 2;
const DEPTH_ABOVE: usize = 1;

/// Where a handler runs, as far as it makes a difference to a guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Situation(pub String);

/// For one kernel: every situation, and for each guard those in which it fails, with why.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The kernel that was asked.
    pub variant: Variant,
    /// Every situation in which it can run a handler.
    pub situations: BTreeSet<Situation>,
    /// By guard and situation, why the guard does not protect there.
    pub fails: BTreeMap<Guard, BTreeMap<Situation, String>>,
}

/// Tries every guard in every situation of a kernel.
#[must_use]
pub(crate) fn answer(variant: Variant) -> Answer {
    let mut answer = Answer { variant, situations: BTreeSet::new(), fails: BTreeMap::new() };
    for activity in [Activity::Task, Activity::Idle, Activity::WokenIdle, Activity::UserInEqs] {
        let programs = Programs::new(variant, activity);
        let mut met = BTreeSet::new();
        Explorer::new(&programs, DEPTH_BELOW).explore(|explorer, state| {
            if let Some(Step::Hookable(site)) = explorer.next_step(state) {
                let words = state.words;
                let key = (
                    site as u8,
                    words.state,
                    words.nesting,
                    words.nmi_nesting,
                    words.preempt_count,
                    words.interrupts_on,
                );
                if met.insert(key) {
                    try_guards(&programs, site, words, &mut answer);
                }
            }
            Ok(())
        });
    }
    answer
}

fn try_guards(programs: &Programs, site: Site, words: Words, answer: &mut Answer) {
    let situation = situation(programs.variant.generation, site, &words);
    answer.situations.insert(situation.clone());
    for guard in Guard::ALL {
        if let Err(why) = is_protected(programs, guard, words) {
            answer.fails.entry(guard).or_default().entry(situation.clone()).or_insert(why);
        }
    }
}

/// Runs a handler behind a guard, with everything that can come in.
fn is_protected(programs: &Programs, guard: Guard, words: Words) -> Result<(), String> {
    let generation = programs.variant.generation;
    let mut programs = programs.clone();
    let steps = handler_behind(guard, generation);
    let body = steps.iter().position(|step| *step == Step::Hookable(Site::Anything));
    programs.table[usize::from(BASE)] = Program { name: "handler", steps };
    let watches = |words: &Words| generation.watches(StateWord(words.state));
    let explored =
        Explorer::new(&programs, DEPTH_ABOVE).once().explore_from(State::with(words), |explorer, state| {
            let next = explorer.next_step(state);
            if state.depth() > 0 {
                let in_body =
                    matches!(next, Some(Step::Hookable(Site::NmiBody | Site::IstBody | Site::IrqBody)));
                return if in_body && !watches(&state.words) {
                    Err("what interrupts its way in or out runs unwatched".to_owned())
                } else {
                    Ok(())
                };
            }
            let at = usize::from(state.top().registers.at);
            if Some(at) == body && !watches(&state.words) {
                let effect =
                    if watches(&words) { "the call makes RCU stop watching" } else { "RCU does not watch" };
                return Err(effect.to_owned());
            }
            if next.is_none() {
                let mut after = state.words;
                let bits = generation.layout().watching_mask | generation.layout().context_mask;
                let same_bits = (after.state ^ words.state) & bits == 0;
                after.state = words.state;
                if !same_bits || after != words {
                    return Err("the counters are left changed".to_owned());
                }
            }
            Ok(())
        });
    if let Some(violation) = explored.violations.into_iter().next() {
        return Err(violation.what);
    }
    // An irq in the section may switch tasks: then the way out is taken by another task, or on another CPU.
    let is_call = matches!(guard, Guard::IrqEnter | Guard::InNmi | Guard::NmiEnter);
    if is_call && words.interrupts_on {
        return Err("interrupts are on: an irq in the section may switch tasks".to_owned());
    }
    Ok(())
}

/// The steps of a handler: guard, body, and the guard undone. The body is the only [`Site::Anything`].
fn handler_behind(guard: Guard, generation: Generation) -> Vec<Step> {
    let body = [Step::Hookable(Site::Anything)];
    let irq = || [call::irq_enter(generation), body.to_vec(), call::irq_exit(generation)].concat();
    let nmi = || [call::nmi_enter(generation), body.to_vec(), call::nmi_exit(generation)].concat();
    let without_sites = |steps: Vec<Step>| {
        let sites = |step: &Step| matches!(step, Step::Hookable(site) if *site != Site::Anything);
        steps.into_iter().map(|step| if sites(&step) { Step::Skip(0) } else { step }).collect()
    };
    match guard {
        Guard::None => body.to_vec(),
        Guard::SkipUnlessWatching => [vec![Step::SkipUnless(Test::Watching, 1)], body.to_vec()].concat(),
        Guard::IrqEnter => without_sites(irq()),
        Guard::NmiEnter => without_sites(nmi()),
        // The same question is asked on both sides, and nothing in between changes the answer.
        Guard::InNmi => {
            let (irq_in, nmi_in) = (call::irq_enter(generation), call::nmi_enter(generation));
            let (irq_out, nmi_out) = (call::irq_exit(generation), call::nmi_exit(generation));
            without_sites([choose(nmi_in, irq_in), body.to_vec(), choose(nmi_out, irq_out)].concat())
        }
    }
}

/// `if (in_nmi()) yes; else no;`
fn choose(yes: Vec<Step>, no: Vec<Step>) -> Vec<Step> {
    let len = |steps: &[Step]| u8::try_from(steps.len()).unwrap_or(u8::MAX);
    let mut steps = vec![Step::SkipUnless(Test::InNmi, len(&yes) + 1)];
    let skip = Step::Skip(len(&no));
    steps.extend(yes);
    steps.push(skip);
    steps.extend(no);
    steps
}

fn situation(generation: Generation, site: Site, words: &Words) -> Situation {
    let place = match site {
        Site::Anything | Site::ContextSwitch => "any function",
        Site::RcuInternal => "RCU's own functions",
        Site::Callout => "what the way out of an EQS calls",
        Site::Victim => "a function that runs in an EQS",
        Site::IrqTold | Site::IrqBody => "an irq",
        Site::Softirq => "a softirq",
        Site::NmiBody => "an NMI",
        Site::IstBody => "an exception",
        Site::NmiEdge => "the way into an NMI",
        Site::IstEdge => "the way into an exception",
    };
    let watching = u8::from(generation.watches(StateWord(words.state)));
    let n = if words.nesting == 0 { "0" } else { "set" };
    let (base, depth) = generation.base(Counter(words.nmi_nesting));
    let m = match (base, depth) {
        (Base::Kernel, 0) => "rest".to_owned(),
        (_, 0) => "0".to_owned(),
        (base, _) => format!("on {}", base.name()),
    };
    let in_nmi = PreemptLayout::FOUR_BYTES.nmi_depth(PreemptCount(words.preempt_count)) > 0;
    let p = if in_nmi { "in_nmi()" } else { "not in_nmi()" };
    let interrupts = if words.interrupts_on { "interrupts on" } else { "interrupts off" };
    Situation(format!("{place}: W={watching} N={n} M={m}, {p}, {interrupts}"))
}

/// The answer for all kernels, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "<!-- Generated from rcu-watch/core/src/model/guarded.rs by `cargo xtask model --docs`. -->\n\
         # Guards: what protects a handler, and where it does not\n\n\
         The thread of 2017 asked what a handler can do that may run while RCU is not watching. The model runs a\n\
         handler behind each guard in every situation in which hookable code runs, with an NMI, an exception or an\n\
         irq at each step of the guard itself. A handler is protected where RCU watches in its body (or it is\n\
         skipped), what interrupts it is watched too, and the counters are as before when it is through. What the words\n\
         of a situation mean is in [kernel.md](kernel.md).\n\n\
         With interrupts on, no call protects: an irq in the section may switch tasks, and the count stays\n\
         behind. Those situations are counted and not listed. Where RCU watches already, `none` protects.\n\n",
    );
    for variant in Variant::ALL {
        section(&answer(variant), &mut out);
    }
    out
}

fn section(answer: &Answer, out: &mut String) {
    let layout = answer.variant.generation.layout();
    let _ = write!(
        out,
        "## {}\n\n`{}.{}`, {} situations.\n\n| guard | protects in | fails in | of these with interrupts on |\n\
         | --- | --- | --- | --- |\n",
        answer.variant.name,
        layout.object,
        layout.state_member,
        answer.situations.len()
    );
    let with_interrupts = |situation: &Situation| situation.0.ends_with("interrupts on");
    let fails = |guard| answer.fails.get(&guard).into_iter().flatten();
    for guard in Guard::ALL {
        let failing = fails(guard).count();
        let _ = writeln!(
            out,
            "| `{}` | {} | {failing} | {} |",
            guard.name(),
            answer.situations.len() - failing,
            fails(guard).filter(|(situation, _)| with_interrupts(situation)).count()
        );
    }
    for guard in Guard::ALL {
        let listed: Vec<_> = fails(guard)
            .filter(|(situation, _)| guard == Guard::None || !with_interrupts(situation))
            .collect();
        if listed.is_empty() {
            continue;
        }
        let _ = write!(out, "\n`{}` fails in:\n\n", guard.name());
        for (situation, why) in listed {
            let _ = writeln!(out, "- {}: {why}", situation.0);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(answer: &Answer, guard: Guard) -> Vec<&str> {
        answer
            .fails
            .get(&guard)
            .into_iter()
            .flatten()
            .filter(|(situation, _)| situation.0.ends_with("interrupts off"))
            .map(|(situation, _)| situation.0.as_str())
            .collect()
    }

    #[test]
    fn today_every_call_protects_wherever_interrupts_are_off() {
        let answer = answer(Variant::of(Generation::G5));
        for guard in [Guard::IrqEnter, Guard::InNmi, Guard::NmiEnter, Guard::SkipUnlessWatching] {
            assert_eq!(fails(&answer, guard), [""; 0], "{guard:?}");
        }
        assert!(answer.situations.len() > 10);
    }

    #[test]
    fn in_2017_only_nmi_enter_and_skipping_protected_everywhere() {
        let answer = answer(Variant::of(Generation::G0b));
        assert_eq!(fails(&answer, Guard::SkipUnlessWatching), [""; 0]);
        assert_eq!(fails(&answer, Guard::NmiEnter), [""; 0]);
        assert!(fails(&answer, Guard::IrqEnter).iter().any(|at| at.starts_with("the way into an exception")));
        assert!(fails(&answer, Guard::InNmi).iter().any(|at| at.starts_with("the way into an NMI")));
    }
}
