//! Which rules this run judged, which it could have, and which it is blind to.

use rcu_watch_core::finding::RuleId;
use rcu_watch_core::pipeline::Pipeline;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::summary::{RuleCoverage, RuleStatus};

/// Points whose probes let a rule judge.
const fn points(rule: RuleId) -> &'static [Point] {
    use Point::{
        Checkpoint, CpuOffline, EqsEnter, EqsExit, FtraceFunction, IdleVictim, IrqEnter, IrqExit, IstEnter,
        NmiEnter, PatchedFunction,
    };
    match rule {
        RuleId::HandlerUnwatched | RuleId::LivepatchBypassed => &[PatchedFunction, FtraceFunction],
        RuleId::ExposedFunction => &[PatchedFunction, FtraceFunction, IdleVictim],
        RuleId::IrqEnterNoEffect => &[IrqEnter],
        RuleId::NmiEdge | RuleId::ExceptionNotNmi => &[IstEnter, NmiEnter],
        RuleId::NestingImbalance | RuleId::StateDisagrees => {
            &[Checkpoint, EqsEnter, EqsExit, PatchedFunction, FtraceFunction, IdleVictim]
        }
        RuleId::UncountedContext => &[NmiEnter, PatchedFunction, FtraceFunction, IdleVictim],
        RuleId::EqsWindowHit => &[NmiEnter, IstEnter, IrqEnter, IrqExit],
        RuleId::SampledInEqs => &[NmiEnter],
        RuleId::RcuOffline => &[CpuOffline],
        RuleId::IrqsOnInSection | RuleId::UnknownWriter | RuleId::HandlerDropped => &[],
    }
}

/// Whether a watchpoint on S lets the rule judge, whatever its point.
const fn is_seen_by_watchpoint(rule: RuleId) -> bool {
    matches!(
        rule,
        RuleId::IrqsOnInSection
            | RuleId::UnknownWriter
            | RuleId::NestingImbalance
            | RuleId::StateDisagrees
            | RuleId::NmiEdge
    )
}

/// What would let a rule judge that this run is blind to.
const fn remedy(rule: RuleId) -> &'static str {
    match rule {
        RuleId::HandlerUnwatched | RuleId::LivepatchBypassed => "nobody has a handler on a kernel function",
        RuleId::ExposedFunction => "no idle function is probed without --exposed",
        RuleId::IrqsOnInSection | RuleId::UnknownWriter => {
            "seen by a watchpoint on the state word only; --watchpoints sample"
        }
        RuleId::HandlerDropped => "needs two handlers on one function to compare",
        RuleId::RcuOffline => "no probe of this plan runs on a CPU that goes offline",
        _ => "this kernel lets no probe of this plan see it",
    }
}

/// One line a rule.
pub fn report(pipeline: &Pipeline) -> Vec<RuleStatus> {
    RuleId::ALL
        .iter()
        .map(|&rule| {
            let count = pipeline.rule_count(rule);
            let sees = |probe: &Probe| match probe.mechanism {
                Mechanism::Watchpoint => is_seen_by_watchpoint(rule),
                _ => points(rule).contains(&probe.point),
            };
            let could = pipeline.probes().any(|(_, probe, attached)| attached && sees(probe));
            let (status, reason) = if count.judged > 0 {
                (RuleCoverage::Judged, None)
            } else if could {
                (RuleCoverage::NotExercised, Some("nothing that it judges happened".to_owned()))
            } else {
                let nobody = matches!(
                    rule,
                    RuleId::HandlerUnwatched | RuleId::LivepatchBypassed | RuleId::ExposedFunction
                );
                let status = if nobody { RuleCoverage::NotExercised } else { RuleCoverage::Blind };
                (status, Some(remedy(rule).to_owned()))
            };
            RuleStatus { rule, name: rule.name().into(), status, reason, count: count.fired }
        })
        .collect()
}
