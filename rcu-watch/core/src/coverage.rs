//! Which rules a run judged, which it could have, and which it is blind to.
//!
//! A rule that could not judge is never counted as passed: each summary says of every rule which of the three it was,
//! and why.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use super::condition::Looked;
use super::pipeline::Pipeline;
use super::report::summary::{RuleCoverage, RuleStatus};
use super::rules::{RULES, Rule};

/// Why a rule does not judge where its probes are.
const NOT_HERE: &str = "what it goes by does not hold on this kernel, or could not be learnt";

/// One line a rule, in the order of the ids.
#[must_use]
pub fn coverage(pipeline: &Pipeline) -> Vec<RuleStatus> {
    let of_rule = |rule: &Rule| {
        let count = pipeline.rule_count(rule.id);
        let is_seen = pipeline.probes().any(|(_, probe)| rule.sees(probe));
        let looked = pipeline.look(rule.id).map(|looked| match looked {
            Looked::Judged => (RuleCoverage::Judged, None),
            Looked::Nothing(why) => (RuleCoverage::NotExercised, Some(&why[..])),
            Looked::Blind(why) => (RuleCoverage::Blind, Some(&why[..])),
        });
        let (status, reason) = if let Some(looked) = looked {
            looked
        } else if count.judged > 0 {
            (RuleCoverage::Judged, None)
        } else if is_seen && !(rule.applies_to)(pipeline.kernel()) {
            (RuleCoverage::Blind, Some(NOT_HERE))
        } else if is_seen {
            (RuleCoverage::NotExercised, Some("nothing that it judges happened"))
        } else if rule.tells_unwatched {
            (RuleCoverage::NotExercised, Some(rule.blind_reason))
        } else {
            (RuleCoverage::Blind, Some(rule.blind_reason))
        };
        let reason = reason.map(ToOwned::to_owned);
        RuleStatus { rule: rule.id, name: rule.name.into(), status, reason, count: count.fired }
    };
    RULES.iter().map(of_rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::finding::RuleId;
    use crate::model::generation::Generation;
    use crate::model::kernel::TextRange;
    use crate::pipeline::{Finding, Listener};
    use crate::probe::{HandlerKind, Mechanism, Point, Probe, Reliance};
    use crate::rules::tests::{handler, idle, kernel, probe};
    use crate::units::Address;

    struct Deaf;

    impl Listener for Deaf {
        fn finding(&mut self, _finding: &Finding<'_>) {}
    }

    fn pipeline(probe: Probe) -> Pipeline {
        Pipeline::new(kernel(Generation::G4), vec![probe])
    }

    fn status(pipeline: &Pipeline, rule: RuleId) -> (RuleCoverage, Option<String>, u64) {
        let status = coverage(pipeline).into_iter().find(|status| status.rule == rule).unwrap();
        (status.status, status.reason, status.count)
    }

    #[test]
    fn every_rule_has_one_line_in_the_order_of_the_table() {
        let lines = coverage(&pipeline(probe(Point::Checkpoint, Mechanism::RawTracepoint)));
        assert!(lines.iter().map(|line| line.rule).eq(RuleId::ALL.iter().copied()));
        assert!(lines.iter().zip(RULES).all(|(line, rule)| line.name == rule.name));
    }

    #[test]
    fn a_rule_is_judged_could_have_been_or_could_not() {
        let mut patched = probe(Point::PatchedFunction, Mechanism::Fentry);
        patched.handlers = vec![handler(HandlerKind::Livepatch, Reliance::Relies)];
        let mut pipeline = pipeline(patched);
        pipeline.push(&encode(&idle(1, 0, 0, 0)), &mut Deaf);
        assert_eq!(status(&pipeline, RuleId::HandlerUnwatched), (RuleCoverage::Judged, None, 1));
        let nothing = Some("nothing that it judges happened".to_owned());
        assert_eq!(status(&pipeline, RuleId::HandlerDropped), (RuleCoverage::NotExercised, nothing, 0));
        let (status, reason, _) = status(&pipeline, RuleId::UnknownWriter);
        assert_eq!(status, RuleCoverage::Blind);
        assert!(reason.unwrap().contains("--watchpoints sample"));
    }

    #[test]
    fn of_what_no_probe_judges_the_looks_say_whether_it_was_judged() {
        let mut pipeline = pipeline(probe(Point::Checkpoint, Mechanism::RawTracepoint));
        let of = |pipeline: &Pipeline| status(pipeline, RuleId::HandlerDead);
        assert_eq!(of(&pipeline).0, RuleCoverage::Blind);
        assert!(of(&pipeline).1.unwrap().contains("did not look"));
        pipeline.looked(RuleId::HandlerDead, Looked::Nothing("nobody is there".to_owned()));
        assert_eq!(of(&pipeline), (RuleCoverage::NotExercised, Some("nobody is there".to_owned()), 0));
        pipeline.looked(RuleId::HandlerDead, Looked::Judged);
        assert_eq!(of(&pipeline), (RuleCoverage::Judged, None, 0));
        pipeline.looked(RuleId::HandlerDead, Looked::Blind("it is hidden".to_owned()));
        assert_eq!(of(&pipeline), (RuleCoverage::Blind, Some("it is hidden".to_owned()), 0));
    }

    #[test]
    fn with_nobodys_handler_nothing_is_hidden_from_the_rules_of_handlers() {
        let pipeline = pipeline(probe(Point::Checkpoint, Mechanism::RawTracepoint));
        for rule in [RuleId::HandlerUnwatched, RuleId::LivepatchBypassed, RuleId::HandlerDropped] {
            let nobody = Some("nobody has a handler on a kernel function".to_owned());
            assert_eq!(status(&pipeline, rule), (RuleCoverage::NotExercised, nobody, 0));
        }
    }

    #[test]
    fn a_rule_that_does_not_judge_on_this_kernel_is_blind_whatever_is_attached() {
        let status = |sets_nmi_bits| {
            let mut kernel = kernel(Generation::G5);
            kernel.ist_sets_nmi_bits = sets_nmi_bits;
            let pipeline = Pipeline::new(kernel, vec![probe(Point::IstEnter, Mechanism::Fentry)]);
            status(&pipeline, RuleId::ExceptionNotNmi)
        };
        assert_eq!(status(true), (RuleCoverage::Blind, Some(NOT_HERE.to_owned()), 0));
        assert_eq!(status(false).0, RuleCoverage::NotExercised);
    }

    #[test]
    fn a_watchpoint_is_seen_by_the_rules_that_it_lets_judge_and_by_no_other() {
        let mut kernel = kernel(Generation::G4);
        kernel.ist_sets_nmi_bits = false;
        kernel.text.writers = vec![TextRange { start: Address(1), end: Address(2) }];
        let pipeline = Pipeline::new(kernel, vec![probe(Point::IrqEnter, Mechanism::Watchpoint)]);
        for rule in RULES {
            let is_blind = status(&pipeline, rule.id).0 == RuleCoverage::Blind;
            assert_eq!(is_blind, !rule.by_watchpoint && !rule.tells_unwatched, "{}", rule.code);
        }
    }
}
