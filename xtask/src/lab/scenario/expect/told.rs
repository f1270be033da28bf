//! What the run said of itself, of livepatches and of functions.

use std::fmt::Debug;

use rcu_watch_core::RuleId;
use rcu_watch_core::report::audit::{AuditVerdict, CheckAnswer};
use rcu_watch_core::report::plan::Event;
use rcu_watch_core::report::summary::{RuleCoverage, Summary};
use rcu_watch_core::report::{AuditedFunction, CheckedFunction, Message};

use super::super::stream::Stream;
use super::{Verdict, ok_or};

pub(super) fn audited(stream: &Stream, function: &str, verdict: AuditVerdict) -> Verdict {
    let about = stream.messages.iter().find_map(|message| match message {
        Message::Audited(said) if said.function == function => Some(&**said),
        _ => None,
    });
    let said: &AuditedFunction = about.ok_or_else(|| format!("no audit of {function}"))?;
    ok_or(said.verdict == verdict, || format!("verdict is not {}: {said:?}", verdict.name()))
}

pub(super) fn checked(stream: &Stream, function: &str, answer: CheckAnswer) -> Verdict {
    let about = stream.messages.iter().find_map(|message| match message {
        Message::Checked(said) if said.function == function => Some(&**said),
        _ => None,
    });
    let said: &CheckedFunction = about.ok_or_else(|| format!("no answer about {function}"))?;
    ok_or(said.answer == answer, || format!("answer is not {answer:?}: {said:?}"))
}

pub(super) fn judged(stream: &Stream, rule: RuleId) -> Verdict {
    let status = stream.summary.rules.iter().find(|status| status.rule == rule);
    ok_or(status.is_some_and(|status| status.status == RuleCoverage::Judged), || {
        format!("{rule} is {status:?}")
    })
}

pub(super) fn calibrated(stream: &Stream) -> Verdict {
    let layout = &stream.header.layout;
    ok_or(layout.as_ref().is_some_and(|layout| layout.calibrated), || format!("not calibrated: {layout:?}"))
}

pub(super) fn other_instance(stream: &Stream) -> Verdict {
    ok_or(!stream.header.other_instances.is_empty(), || "it saw no other instance".to_owned())
}

/// In this order, again and again; the second says whether it is towards the patched functions.
const LIFE: [(Event, bool); 6] = [
    (Event::Load, true),
    (Event::TransitionStart, true),
    (Event::TransitionEnd, true),
    (Event::TransitionStart, false),
    (Event::TransitionEnd, false),
    (Event::Unload, false),
];

pub(super) fn livepatches(stream: &Stream, patch: &str, times: usize) -> Verdict {
    let seen = stream.messages.iter().filter_map(|message| match message {
        Message::Livepatch(said) if said.patch == patch => Some((said.event, said.to_patched)),
        _ => None,
    });
    let seen: Vec<(Event, bool)> = seen.collect();
    let whole = seen.len() == times * LIFE.len() && seen.chunks(LIFE.len()).all(|life| life == LIFE);
    ok_or(whole, || format!("not {times} lives of {patch}: {seen:?}"))
}

pub(super) fn replays(replay: &Stream, live: &Stream) -> Verdict {
    for kind in ["snapshot", "finding", "livepatch", "plan_change"] {
        let of_kind = |message: &&Message| replayed(message) == Some(kind);
        let again: Vec<&Message> = replay.messages.iter().filter(of_kind).collect();
        let before: Vec<&Message> = live.messages.iter().filter(of_kind).collect();
        let differs = again.iter().zip(&before).position(|(again, before)| again != before);
        ok_or(again.len() == before.len() && differs.is_none(), || {
            let (counts, at) = ((again.len(), before.len()), differs.unwrap_or_default());
            format!("{counts:?} times {kind}; {:?} for {:?}", again.get(at), before.get(at))
        })?;
    }
    let Summary { verdict, exit_code, totals, findings, rules, guards, books, followed, .. } =
        &*replay.summary;
    same("verdict", verdict, &live.summary.verdict)?;
    same("exit_code", exit_code, &live.summary.exit_code)?;
    same("totals", totals, &live.summary.totals)?;
    same("findings", findings, &live.summary.findings)?;
    same("rules", rules, &live.summary.rules)?;
    same("guards", guards, &live.summary.guards)?;
    same("books", books, &live.summary.books)?;
    same("followed", followed, &live.summary.followed)
}

/// What a replay says again, and as what.
const fn replayed(message: &Message) -> Option<&'static str> {
    match message {
        Message::Snapshot(_) => Some("snapshot"),
        Message::Finding(_) => Some("finding"),
        Message::Livepatch(_) => Some("livepatch"),
        Message::PlanChange(_) => Some("plan_change"),
        _ => None,
    }
}

fn same<T: PartialEq + Debug>(member: &str, again: &T, before: &T) -> Verdict {
    ok_or(again == before, || format!("{member} is {again:?}, and was {before:?}"))
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::report::LivepatchReport;
    use rcu_watch_core::report::summary::RunVerdict;

    use super::super::super::stream::tests::{stdout, summary};
    use super::*;

    fn stream(events: &[(Event, bool)], summary: Summary) -> Stream {
        let messages = events.iter().map(|&(event, to_patched)| {
            Message::Livepatch(LivepatchReport {
                patch: "lab".into(),
                event,
                to_patched,
                functions: Vec::new(),
                because: None,
                took_ns: None,
            })
        });
        Stream::read(stdout(&messages.collect::<Vec<_>>(), summary).as_bytes()).unwrap()
    }

    #[test]
    fn a_livepatchs_life_is_whole_or_it_does_not_count() {
        assert_eq!(livepatches(&stream(&[LIFE, LIFE].concat(), summary()), "lab", 2), Ok(()));
        assert!(livepatches(&stream(&LIFE, summary()), "lab", 2).is_err());
        assert!(livepatches(&stream(&LIFE, summary()), "other", 1).is_err());
        assert!(livepatches(&stream(&LIFE[1..], summary()), "lab", 1).is_err());
    }

    #[test]
    fn a_replay_says_what_was_said_live() {
        let live = stream(&LIFE, summary());
        assert_eq!(replays(&stream(&LIFE, summary()), &live), Ok(()));
        assert!(replays(&stream(&LIFE[1..], summary()), &live).unwrap_err().contains("livepatch"));
        let other = Summary { verdict: RunVerdict::Inconclusive, ..summary() };
        assert!(replays(&stream(&LIFE, other), &live).unwrap_err().contains("verdict"));
    }
}
