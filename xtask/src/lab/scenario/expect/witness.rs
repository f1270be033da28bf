//! What others say of the same: the kernel's log of its livepatches, bpftool of its programs.

use std::collections::BTreeMap;

use rcu_watch_core::RuleId;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::plan::Event;

use super::super::stream::Stream;
use super::{Verdict, ok_or};

/// An event of a livepatch, and whether it is towards the patched functions.
type Happened = (Event, bool);

/// Of each livepatch the stream tells what the kernel's log does, each event once and in the same order; those that the
/// kernel refused are on neither side.
pub(super) fn livepatches(stream: &Stream, log: &str) -> Verdict {
    let mut told: BTreeMap<&str, Vec<Happened>> = BTreeMap::new();
    for message in &stream.messages {
        match message {
            Message::Livepatch(said) if said.event != Event::Refused => {
                told.entry(&said.patch).or_default().push((said.event, said.to_patched));
            }
            _ => {}
        }
    }
    let logged = logged(log);
    ok_or(!logged.is_empty(), || "the kernel's log has no livepatch".to_owned())?;
    let patches = told.keys().chain(logged.keys());
    let differ = patches.into_iter().find(|patch| told.get(*patch) != logged.get(*patch));
    ok_or(differ.is_none(), || {
        let patch = differ.copied().unwrap_or_default();
        format!("of {patch} it told {:?}, and the log {:?}", told.get(patch), logged.get(patch))
    })
}

/// All that it found are transitions that stalled, and by the kernel's log each took at least so long.
pub(super) fn only_stalls(stream: &Stream, log: &str, seconds: f64) -> Verdict {
    let stalled = stalled(log, seconds);
    let is_true = |patch: &str, because: &str| {
        let to_patched = because.contains("transition to the patched functions");
        stalled.contains(&(patch, to_patched))
    };
    let mut findings = stream.messages.iter().filter_map(|message| match message {
        Message::Finding(found) => Some(found),
        _ => None,
    });
    let wrong = findings
        .find(|found| found.rule != RuleId::TransitionStalled || !is_true(&found.function, &found.because));
    ok_or(wrong.is_none(), || {
        let found = wrong.map(|found| format!("{} {}: {}", found.rule, found.function, found.because));
        format!("{}; by the log only these took {seconds} s: {stalled:?}", found.unwrap_or_default())
    })
}

/// The transitions that took at least so long, or were not over, with where they went.
fn stalled(log: &str, seconds: f64) -> Vec<(&str, bool)> {
    let mut began: BTreeMap<(&str, bool), f64> = BTreeMap::new();
    let mut stalled = Vec::new();
    for line in log.lines() {
        let said = line.split_once("] livepatch: '").and_then(|(time, text)| {
            let (patch, what) = text.rsplit_once("': ")?;
            Some((time.trim_start_matches('[').trim().parse::<f64>().ok()?, patch, what))
        });
        let Some((now, patch, what)) = said else { continue };
        let to_patched = !what.contains("unpatching");
        if what.starts_with("starting ") {
            began.insert((patch, to_patched), now);
        } else if what.ends_with("patching complete")
            && let Some(then) = began.remove(&(patch, to_patched))
            && now - then >= seconds
        {
            stalled.push((patch, to_patched));
        }
    }
    stalled.extend(began.into_keys());
    stalled
}

/// What became of each livepatch (kernel/livepatch/core.c, kernel/livepatch/transition.c). That one is gone is not in
/// the log, but the kernel's tests write there whose module they remove.
fn logged(log: &str) -> BTreeMap<&str, Vec<Happened>> {
    let mut all: BTreeMap<&str, Vec<Happened>> = BTreeMap::new();
    for text in log.lines().filter_map(|line| Some(line.split_once("] ")?.1)) {
        let quoted = |start| text.strip_prefix(start)?.strip_suffix('\'');
        if let Some(patch) = quoted("livepatch: enabling patch '") {
            all.entry(patch).or_default().push((Event::Load, true));
        } else if let Some(patch) = quoted("livepatch: failed to enable patch '") {
            all.entry(patch).or_default().pop();
        } else if let Some(events) = text.strip_prefix("% rmmod ").and_then(|patch| all.get_mut(patch)) {
            if events.last() == Some(&(Event::TransitionEnd, true)) {
                events.push((Event::Replaced, false));
            }
            events.push((Event::Unload, false));
        } else if let Some((patch, what)) =
            text.strip_prefix("livepatch: '").and_then(|text| text.rsplit_once("': "))
        {
            let events = all.entry(patch).or_default();
            match what {
                "starting patching transition" => events.push((Event::TransitionStart, true)),
                "patching complete" => events.push((Event::TransitionEnd, true)),
                "starting unpatching transition" => events.push((Event::TransitionStart, false)),
                // Also said of one that was refused.
                "unpatching complete" if events.last() == Some(&(Event::TransitionStart, false)) => {
                    events.push((Event::TransitionEnd, false));
                }
                _ => {}
            }
        }
    }
    all.retain(|_, events| !events.is_empty());
    all
}

/// The same programs were skipped, and as often.
pub(super) fn misses(stream: &Stream, bpftool: &str) -> Verdict {
    let told: BTreeMap<u32, u64> = stream
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Handler(handler) => {
                Some((handler.program?, handler.misses.filter(|&misses| misses > 0)?))
            }
            _ => None,
        })
        .collect();
    let listed: BTreeMap<u32, u64> = bpftool.lines().filter_map(recursion_misses).collect();
    ok_or(!listed.is_empty() && told == listed, || {
        format!("misses by program are {told:?}, and bpftool's {listed:?}")
    })
}

/// `17: kprobe  name do_nanosleep  tag 4f2c  gpl recursion_misses 570`, which bpftool says of those that have any.
fn recursion_misses(line: &str) -> Option<(u32, u64)> {
    let (program, rest) = line.split_once(':')?;
    let mut words = rest.split_whitespace();
    words.find(|word| *word == "recursion_misses")?;
    Some((program.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::Reliance;
    use rcu_watch_core::report::LivepatchReport;
    use rcu_watch_core::report::handlers::{HandlerReport, HookKind};
    use serde_json::json;

    use super::super::super::stream::tests::{stdout, summary};
    use super::*;

    fn stream(messages: &[Message]) -> Stream {
        Stream::read(stdout(messages, summary()).as_bytes()).unwrap()
    }

    fn happened(patch: &str, events: &[Happened]) -> Vec<Message> {
        let message = |&(event, to_patched)| {
            Message::Livepatch(LivepatchReport {
                patch: patch.into(),
                event,
                to_patched,
                functions: Vec::new(),
                because: None,
                took_ns: None,
            })
        };
        events.iter().map(message).collect()
    }

    const LOG: &str = "\
[   10.000000] livepatch: enabling patch 'a'
[   10.100000] livepatch: 'a': starting patching transition
[   12.000000] livepatch: 'a': patching complete
[   13.000000] livepatch: enabling patch 'b'
[   13.100000] livepatch: failed to enable patch 'b'
[   13.200000] livepatch: 'b': unpatching complete
[   14.000000] % rmmod a
[   15.000000] livepatch: enabling patch 'b'
[   15.100000] livepatch: 'b': starting patching transition
[   15.200000] livepatch: 'b': starting unpatching transition
[   17.000000] livepatch: 'b': unpatching complete
[   18.000000] % rmmod b
";
    const OF_A: [Happened; 5] = [
        (Event::Load, true),
        (Event::TransitionStart, true),
        (Event::TransitionEnd, true),
        (Event::Replaced, false),
        (Event::Unload, false),
    ];
    const OF_B: [Happened; 6] = [
        (Event::Refused, true),
        (Event::Load, true),
        (Event::TransitionStart, true),
        (Event::TransitionStart, false),
        (Event::TransitionEnd, false),
        (Event::Unload, false),
    ];

    #[test]
    fn a_livepatch_is_told_as_the_log_has_it_or_it_is_not_right() {
        let told = |a: &[Happened], b: &[Happened]| {
            livepatches(&stream(&[happened("a", a), happened("b", b)].concat()), LOG)
        };
        assert_eq!(told(&OF_A, &OF_B), Ok(()));
        assert!(told(&OF_A, &OF_B[2..]).unwrap_err().contains("of b"));
        // One that nobody loaded.
        assert!(told(&[OF_A, OF_A].concat(), &OF_B).unwrap_err().contains("of a"));
        assert!(livepatches(&stream(&[]), "").is_err());
    }

    #[test]
    fn a_stall_is_one_where_the_log_has_a_transition_that_took_as_long() {
        let found = |rule: &str, patch: &str, because: &str| {
            let found = json!({
                "id": 1, "rule": rule, "name": "it", "severity": "warning", "because": because, "function": patch,
                "handlers": [], "guards": [], "stack": [], "fingerprint": "0",
            });
            Message::Finding(Box::new(serde_json::from_value(found).unwrap()))
        };
        let judged = |found, seconds| only_stalls(&stream(&[found]), LOG, seconds);
        let forth = "its transition to the patched functions has been under way for 2 s";
        let back = "its transition to the original functions has been under way for 2 s";
        assert_eq!(judged(found("RW018", "a", forth), 1.5), Ok(()));
        assert_eq!(judged(found("RW018", "b", back), 1.5), Ok(()));
        assert!(judged(found("RW018", "a", forth), 2.5).is_err());
        assert!(judged(found("RW018", "a", back), 1.5).is_err());
        assert!(judged(found("RW016", "a", forth), 1.5).is_err());
        assert_eq!(only_stalls(&stream(&[]), LOG, 1.5), Ok(()));
    }

    #[test]
    fn misses_are_bpftools_by_program() {
        let skipped = |program, misses| {
            let mut handler = HandlerReport::new(HookKind::Kprobe, "it".into(), Reliance::Relies);
            (handler.program, handler.misses) = (Some(program), Some(misses));
            Message::Handler(Box::new(handler))
        };
        let bpftool = "17: kprobe  name do_it  tag 4f2c  gpl recursion_misses 570\n\
                       \tloaded_at 2026-01-01T00:00:00+0000  uid 0\n18: kprobe  name other  tag 4f2d  gpl\n";
        let judged = |messages: &[Message]| misses(&stream(messages), bpftool);
        assert_eq!(judged(&[skipped(17, 570), skipped(17, 570), skipped(18, 0)]), Ok(()));
        assert!(judged(&[skipped(17, 569)]).is_err());
        assert!(judged(&[skipped(17, 570), skipped(18, 1)]).is_err());
        assert!(misses(&stream(&[]), "").is_err());
    }
}
