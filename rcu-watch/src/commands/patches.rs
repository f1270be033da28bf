//! `rcu-watch patches`: every livepatch as it is now, or when its transition has ended. Reads the kernel's files alone,
//! and answers without privileges as far as they go.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rcu_watch_core::condition::transition::{Ended, Outcome, PatchesSeen, Transitions, target};
use rcu_watch_core::report::patches::PatchTransition;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict};
use rcu_watch_core::report::{Message, PatchReport, Summary};
use rcu_watch_core::units::Nanos;
use rcu_watch_core::verdict::{Exit, FailOn};

use super::host::host_header;
use crate::audit::stop::Stop;
use crate::cli::args::PatchesArgs;
use crate::clock;
use crate::kernel::mount::Tree;
use crate::kernel::patches::{Patches, SETTLES};
use crate::kernel::support::Reason;
use crate::session::refusal::refuse;
use crate::sink;
use crate::sink::options::Format;

/// Between two looks of `--wait`.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &PatchesArgs) -> Result<Exit> {
    if args.output.format == Format::Ktap {
        bail!("patches judges no rule, so it has no KTAP; take -f text or -f json");
    }
    let began = clock::now();
    let mut stream = sink::stream(&(&args.output).into(), FailOn::Error)?;
    let tree = Tree::live();
    let header = host_header(&tree, "patches");
    let mut patches = Patches::new(tree, nanos(args.stall_after));
    if let Some(reason) = patches.absent() {
        let (format, reasons) = (args.output.format, vec![reason.to_string()]);
        return Err(refuse(&mut stream, format, header, "tell the livepatches of", reasons));
    }
    stream.send(began, None, Message::Header(Box::new(header)))?;
    let Watched { seen, ended_by, verdict, reasons } = watch(&mut patches, args.wait)?;
    for patch in seen.patches {
        stream.send(clock::now(), None, Message::Patch(Box::new(patch)))?;
    }
    let exit = Exit::of_run(verdict, false);
    let elapsed_ns = Nanos(clock::now().0.saturating_sub(began.0));
    let summary = Summary { reasons, elapsed_ns, ..Summary::new(verdict, exit.code(), ended_by) };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(exit)?)
}

/// What came of looking.
struct Watched {
    seen: PatchesSeen,
    ended_by: EndedBy,
    verdict: RunVerdict,
    reasons: Vec<String>,
}

/// Looks once, or until no transition is under way.
fn watch(patches: &mut Patches, wait: Option<Duration>) -> Result<Watched> {
    let mut stop = Stop::new()?;
    let until = wait.map(|wait| Instant::now() + wait);
    let mut transitions = Transitions::default();
    let mut ends = Vec::new();
    let mut is_second = false;
    loop {
        let now = clock::now();
        let seen = match patches.look(now) {
            Ok(seen) => seen,
            Err(reason) => return Ok(unread(&reason)),
        };
        ends.extend(transitions.look(now, &seen).ended);
        let is_moving = seen.patches.iter().any(|patch| patch.transition.is_some());
        let rest = match until {
            Some(until) if is_moving && until > Instant::now() => PAUSE,
            // That an idle task holds it is not sure before the kernel had time to see that nobody else does.
            None if !is_second && may_be_idle(&seen) => {
                is_second = true;
                Duration::from_nanos(SETTLES.0)
            }
            _ => {
                let (verdict, reasons) = judge(&seen, &ends, wait.is_some());
                return Ok(Watched { seen, ended_by: EndedBy::Listed, verdict, reasons });
            }
        };
        if stop.wait(rest) {
            let mut reasons = under_way(&seen, |_| true);
            reasons.push("interrupted".to_owned());
            let verdict = RunVerdict::Inconclusive;
            return Ok(Watched { seen, ended_by: EndedBy::Signal, verdict, reasons });
        }
    }
}

fn unread(reason: &Reason) -> Watched {
    Watched {
        seen: PatchesSeen::default(),
        ended_by: EndedBy::Listed,
        verdict: RunVerdict::Inconclusive,
        reasons: vec![reason.to_string()],
    }
}

fn judge(seen: &PatchesSeen, ends: &[Ended], waits: bool) -> (RunVerdict, Vec<String>) {
    let how = |ended: &Ended| {
        let how = match ended.how {
            Outcome::Complete => "is complete",
            Outcome::Forced => "was forced",
            Outcome::Reversed => "turned back",
        };
        format!("{}: its transition {how} after {:.1} s", ended.patch, ended.took.0 as f64 / 1e9)
    };
    let mut reasons: Vec<String> = ends.iter().map(how).collect();
    let was_forced = ends.iter().any(|ended| ended.how == Outcome::Forced);
    let stalled = under_way(seen, |transition| waits || transition.stalled);
    if was_forced || !stalled.is_empty() {
        reasons.extend(stalled);
        return (RunVerdict::Findings, reasons);
    }
    let hidden = under_way(seen, |transition| transition.tasks.unread > 0 || !transition.sees_all);
    if hidden.is_empty() {
        return (RunVerdict::Clean, reasons);
    }
    reasons.extend(
        hidden.into_iter().map(|moving| format!("{moving}, and not every task could be read; run as root")),
    );
    (RunVerdict::Inconclusive, reasons)
}

/// A sentence for each transition that is under way and of which `is_meant` holds.
fn under_way(seen: &PatchesSeen, is_meant: impl Fn(&PatchTransition) -> bool) -> Vec<String> {
    let sentence = |patch: &PatchReport| {
        let transition = patch.transition.as_ref().filter(|transition| is_meant(transition))?;
        let PatchTransition { to_patched, age_ns, holding, stalled, .. } = transition;
        let (seconds, word) = (age_ns.0 / 1_000_000_000, if *stalled { "stalled" } else { "under way" });
        let to = target(*to_patched);
        Some(format!(
            "{}: its transition to the {to} functions is {word}, {seconds} s old, held by {holding}",
            patch.patch
        ))
    };
    seen.patches.iter().filter_map(sentence).collect()
}

fn may_be_idle(seen: &PatchesSeen) -> bool {
    seen.patches.iter().filter_map(|patch| patch.transition.as_ref()).any(|transition| {
        transition.stalled && transition.holding == 0 && transition.sees_all && transition.holders.is_empty()
    })
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
