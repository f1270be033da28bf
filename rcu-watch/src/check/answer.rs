//! The answer for one function: what is known of it, then what was seen.

use rcu_watch_core::report::audit::{CheckAnswer, Observed};

use crate::kernel::Facts;
use crate::kernel::outlook::entry::Place;
use crate::kernel::points;

/// Symbols that bound the code which the kernel keeps free of handlers.
const RANGES: [[&str; 2]; 3] = [
    ["__noinstr_text_start", "__noinstr_text_end"],
    ["__cpuidle_text_start", "__cpuidle_text_end"],
    ["__entry_text_start", "__entry_text_end"],
];

/// Symbols that [`known`] wants to have been asked for.
pub(crate) fn symbols() -> impl Iterator<Item = &'static str> {
    RANGES.into_iter().flatten()
}

/// What is known of a function without a probe on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is nothing to observe.
    Final(CheckAnswer, String),
    /// It is to be observed; it is a known victim for this reason.
    Victim(&'static str),
    /// It is to be observed.
    Nothing,
}

/// What this kernel, and what is known of others, say of `function`, which is at `place`.
#[must_use]
pub(crate) fn known(facts: &Facts, function: &str, place: &Place) -> Known {
    let object = place.object.as_str();
    let symbols = match &facts.symbols {
        Ok(symbols) => symbols,
        Err(reason) => return Known::Final(CheckAnswer::Unknown, reason.to_string()),
    };
    let symbol = symbols.symbols.get(function).filter(|_| place.namesakes != Some(0));
    let Some(symbol) = symbol else {
        let why = if object == "vmlinux" {
            "this kernel has no function of that name now: another kernel's, inlined, or in a module that is \
             not loaded"
                .to_owned()
        } else {
            format!("module {object} is not loaded here, or has no such function")
        };
        return Known::Final(CheckAnswer::NotFound, why);
    };
    let within = |[start, end]: &[&str; 2]| {
        let range = symbols.address(start).zip(symbols.address(end));
        range.is_some_and(|(start, end)| (start..end).contains(&symbol.address))
    };
    // By address: the kernel lists a function by one of its names.
    let traceable = place.has_entry.or_else(|| facts.traceable.contains(function).filter(|&is| is));
    if RANGES.iter().any(within) && traceable != Some(true) {
        let why = "the kernel lets nobody hook it: it runs where RCU is being told, or not yet told";
        return Known::Final(CheckAnswer::Noinstr, why.to_owned());
    }
    if traceable == Some(false) {
        let why = "ftrace has no site in it (notrace, or built without one), so no livepatch can apply";
        return Known::Final(CheckAnswer::NotTraceable, why.to_owned());
    }
    if points::is_rcu_internal(function) {
        return Known::Victim("its job is to run while RCU is off");
    }
    // Since the idle path became noinstr (2b5a0e425e6e, "objtool/idle: Validate __cpuidle code as noinstr") what
    // can still be hooked runs elsewhere.
    if points::runs_in_eqs(function) && facts.traceable.contains("arch_cpu_idle") == Some(true) {
        return Known::Victim("the idle path of this kernel calls it after RCU was switched off");
    }
    Known::Nothing
}

/// The answer, with what a probe saw; `Err` is why there was none.
#[must_use]
pub(crate) fn answer(known: &Known, seen: Result<&Observed, &str>) -> (CheckAnswer, String) {
    let victim = match known {
        Known::Final(answer, why) => return (*answer, why.clone()),
        Known::Victim(why) => Some(*why),
        Known::Nothing => None,
    };
    match (seen, victim) {
        (Ok(Observed { calls, unwatched: unwatched @ 1.., seconds, .. }), _) => (
            CheckAnswer::RunsWithRcuOff,
            format!("observed: {unwatched} of {calls} calls in {seconds:.0} s ran with RCU off"),
        ),
        (Ok(Observed { calls, seconds, .. }), Some(why)) => (
            CheckAnswer::KnownVictim,
            format!("{why}; {calls} calls here in {seconds:.0} s, and RCU watched each"),
        ),
        (Err(reason), Some(why)) => (CheckAnswer::KnownVictim, format!("{why}; not observed: {reason}")),
        (Ok(Observed { calls: 0, seconds, .. }), None) => (
            CheckAnswer::NoEvidence,
            format!("0 calls seen in {seconds:.0} s: run what calls it meanwhile to know more"),
        ),
        (Ok(Observed { calls, seconds, .. }), None) => {
            (CheckAnswer::NoEvidence, format!("{calls} calls seen in {seconds:.0} s, and RCU watched each"))
        }
        (Err(reason), None) => (CheckAnswer::Unknown, format!("not observed: {reason}")),
    }
}

/// Whether whoever asks should not go on.
#[must_use]
pub(crate) const fn refuses(answer: CheckAnswer) -> bool {
    matches!(
        answer,
        CheckAnswer::RunsWithRcuOff
            | CheckAnswer::KnownVictim
            | CheckAnswer::Noinstr
            | CheckAnswer::NotTraceable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcu_watch_core::probe::Mechanism;

    fn seen(calls: u64, unwatched: u64) -> Observed {
        let (mechanism, handlers) = (Mechanism::Fentry, Vec::new());
        Observed { mechanism, calls, unwatched, seconds: 5.0, state: None, handlers }
    }

    fn answers(known: &Known, seen: Result<&Observed, &str>) -> CheckAnswer {
        answer(known, seen).0
    }

    #[test]
    fn one_call_with_rcu_off_outweighs_all_others() {
        for known in [Known::Nothing, Known::Victim("idle calls it")] {
            assert_eq!(answers(&known, Ok(&seen(1000, 1))), CheckAnswer::RunsWithRcuOff);
        }
    }

    #[test]
    fn a_known_victim_stays_one_however_it_was_seen() {
        let victim = Known::Victim("idle calls it");
        for observed in [Ok(&seen(9, 0)), Ok(&seen(0, 0)), Err("no BPF")] {
            let answer = answers(&victim, observed);
            assert_eq!(answer, CheckAnswer::KnownVictim);
            assert!(refuses(answer));
        }
    }

    #[test]
    fn no_evidence_says_how_much_was_seen_even_if_it_was_nothing() {
        let (answered, why) = answer(&Known::Nothing, Ok(&seen(0, 0)));
        assert_eq!(answered, CheckAnswer::NoEvidence);
        assert!(why.starts_with("0 calls seen in 5 s"), "{why}");
        assert!(!refuses(answered));
        assert_eq!(answer(&Known::Nothing, Ok(&seen(7, 0))).1, "7 calls seen in 5 s, and RCU watched each");
    }

    #[test]
    fn what_was_not_observed_is_unknown_and_no_refusal() {
        let answer = answers(&Known::Nothing, Err("no BPF"));
        assert_eq!(answer, CheckAnswer::Unknown);
        assert!(!refuses(answer));
    }
}
