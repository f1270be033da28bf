//! The proof, kernel by kernel: everything that the algorithm allows, and what the rules say of it.

use alloc::vec::Vec;
use core::fmt;

use super::explore::{Explorer, Violation};
use super::observe::{Observers, Tally, check_legal};
use super::transition::{Activity, Programs};
use super::variant::Variant;

/// How deep irqs, exceptions and NMIs nest in the proof, where nothing else is asked for.
pub const DEPTH: usize = 3;

/// What was proven of one kernel.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The kernel that was explored.
    pub variant: Variant,
    /// How deep irqs, exceptions and NMIs nested.
    pub depth: usize,
    /// Distinct states that were reached, over all activities.
    pub states: u64,
    /// Steps between them that were tried.
    pub steps: u64,
    /// How often each rule fired on what probes saw of those states.
    pub(crate) tally: Tally,
    /// What must not be, with what the CPU was doing.
    pub(crate) violations: Vec<(Activity, Violation)>,
}

/// Explores everything that can happen on a kernel, `depth` deep.
#[must_use]
pub fn prove(variant: Variant, depth: usize) -> Proof {
    let observers = Observers::new(&variant);
    let mut proof =
        Proof { variant, depth, states: 0, steps: 0, tally: Tally::default(), violations: Vec::new() };
    for activity in Activity::ALL {
        let programs = Programs::new(variant, activity);
        let mut tally = Tally::default();
        let explored = Explorer::new(&programs, depth)
            .explore(|explorer, state| check_legal(&observers, explorer, state, &mut tally));
        proof.states += explored.states;
        proof.steps += explored.steps;
        proof.tally.merge(&tally);
        proof.violations.extend(explored.violations.into_iter().map(|violation| (activity, violation)));
    }
    proof
}

impl Proof {
    /// How many states there are that must not be; printing the proof shows the first ones.
    #[must_use]
    pub const fn violation_count(&self) -> usize {
        self.violations.len()
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<10} depth {}  {:>9} states  {:>9} steps  {:>9} views  {} violations ",
            self.variant.name,
            self.depth,
            self.states,
            self.steps,
            self.tally.views,
            self.violations.len()
        )?;
        for (rule, severity, count) in self.tally.iter() {
            write!(f, " {rule}/{severity} {count}")?;
        }
        for (activity, violation) in self.violations.iter().take(3) {
            write!(f, "\n    {}: {} at {:x?}", activity.name(), violation.what, violation.state.words)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{RuleId, Severity};

    /// The invariants hold, no rule speaks but where it must, and every vantage gives back the interrupted
    /// state: in each state that the algorithm allows.
    fn no_legal_state_is_judged_wrong(name: &str) {
        let variant = Variant::ALL.into_iter().find(|variant| variant.name == name).unwrap();
        let proof = prove(variant, DEPTH);
        assert!(proof.violations.is_empty(), "{proof}");
        assert!(proof.states > 300_000, "{proof}");
        let fired = |rule| proof.tally.iter().any(|(fired, severity, _)| (fired, severity) == rule);
        assert_eq!(fired((RuleId::HandlerUnwatched, Severity::Error)), variant.has_victims);
        assert!(fired((RuleId::EqsWindowHit, Severity::Info)));
    }

    macro_rules! proofs {
        ($($test:ident $name:literal;)*) => {$(
            #[test]
            fn $test() {
                no_legal_state_is_judged_wrong($name);
            }
        )*};
    }

    proofs! {
        no_legal_state_of_g0a_is_judged_wrong "G0a";
        no_legal_state_of_g0b_is_judged_wrong "G0b";
        no_legal_state_of_g1_is_judged_wrong "G1";
        no_legal_state_of_g2_up_to_5_7_is_judged_wrong "G2 to 5.7";
        no_legal_state_of_g2_is_judged_wrong "G2";
        no_legal_state_of_g2_on_arm64_is_judged_wrong "G2 arm64";
        no_legal_state_of_g3_is_judged_wrong "G3";
        no_legal_state_of_g4_is_judged_wrong "G4";
        no_legal_state_of_g5_is_judged_wrong "G5";
        no_legal_state_of_g5_on_arm64_is_judged_wrong "G5 arm64";
    }
}
