//! Transitions of livepatches that do not come to their end (RW018), or were brought to it by force (RW019).
//!
//! The kernel has one transition at a time, and has no word for one that hangs: it tries again every second, for ever.
//! [`Transitions`] is given what each look at the livepatches saw, and says what is wrong, and what came to its end since
//! the look before. It reads nothing and knows no clock.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::condition::Condition;
use crate::finding::{RuleId, Severity};
use crate::report::finding::Holder;
use crate::report::patches::{Forced, PatchReport, PatchTransition, Since};
use crate::units::Nanos;

/// What one look at all livepatches saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchesSeen {
    /// Every livepatch that is there.
    pub patches: Vec<PatchReport>,
    /// Every transition that is known to have been forced since boot, also of livepatches that are gone: which
    /// livepatch's, and how.
    pub forced: Vec<(String, Forced)>,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// What is wrong, and was not told before: a stall comes again when others hold it.
    pub conditions: Vec<Condition>,
    /// Transitions that the look before saw and this one does not.
    pub ended: Vec<Ended>,
}

/// A transition that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The livepatch.
    pub patch: String,
    /// Where it went.
    pub to_patched: bool,
    /// How it ended.
    pub how: Outcome,
    /// How long it was under way, to within the time between two looks.
    pub took: Nanos,
    /// Who held it when it was last seen.
    pub holders: Vec<Holder>,
}

/// How a transition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every task has moved.
    Complete,
    /// Every task was moved by force.
    Forced,
    /// It goes the other way now.
    Reversed,
}

/// Judges look after look.
#[derive(Clone, Debug, Default)]
pub struct Transitions {
    /// When the first look was.
    began: Option<Nanos>,
    moving: Vec<Moving>,
    /// Of the transitions that were forced: which were told.
    told: Vec<(String, Nanos)>,
}

/// A transition as it was last seen.
#[derive(Clone, Debug)]
struct Moving {
    patch: String,
    to_patched: bool,
    since: Nanos,
    holders: Vec<Holder>,
    /// The key of its condition, where it stalls.
    key: String,
    /// The key of the condition that was told of it last.
    told: Option<String>,
}

impl Transitions {
    /// Judges what was seen at `now`.
    pub fn look(&mut self, now: Nanos, seen: &PatchesSeen) -> Judged {
        let began = *self.began.get_or_insert(now);
        let mut judged = Judged::default();
        for (patch, forced) in &seen.forced {
            let is_told = |(told, ts): &&(String, Nanos)| told == patch && *ts == forced.ts_ns;
            if self.told.iter().any(|told| is_told(&told)) {
                continue;
            }
            self.told.push((patch.clone(), forced.ts_ns));
            let before = self.moving.iter().find(|moving| moving.patch == *patch);
            judged.conditions.push(was_forced(patch, forced, before, forced.ts_ns >= began));
        }
        for before in &self.moving {
            judged.ended.extend(end(before, now, seen));
        }
        let before = core::mem::take(&mut self.moving);
        for patch in &seen.patches {
            let Some(transition) = &patch.transition else { continue };
            let mut moving = Moving::new(patch, transition, now);
            let same = before.iter().find(|b| b.patch == moving.patch && b.to_patched == moving.to_patched);
            moving.told = same.and_then(|same| same.told.clone());
            if transition.stalled {
                let stalled = stalls(patch, transition);
                // Who holds it changes on the way to its end, too: others are told when they are seen twice.
                let is_sure = moving.told.is_none() || same.is_some_and(|same| same.key == stalled.key);
                moving.key.clone_from(&stalled.key);
                if is_sure && moving.told.as_ref() != Some(&stalled.key) {
                    moving.told = Some(stalled.key.clone());
                    judged.conditions.push(stalled);
                }
            }
            self.moving.push(moving);
        }
        judged
    }
}

impl Moving {
    fn new(patch: &PatchReport, transition: &PatchTransition, now: Nanos) -> Self {
        let PatchTransition { to_patched, age_ns, holders, .. } = transition;
        Self {
            patch: patch.patch.clone(),
            to_patched: *to_patched,
            since: Nanos(now.0.saturating_sub(age_ns.0)),
            holders: holders.clone(),
            key: String::new(),
            told: None,
        }
    }
}

/// What the functions of a transition's target are called.
#[must_use]
pub const fn target(to_patched: bool) -> &'static str {
    if to_patched { "patched" } else { "original" }
}

/// What became of a transition; `None` where it is under way still.
fn end(before: &Moving, now: Nanos, seen: &PatchesSeen) -> Option<Ended> {
    let patch = seen.patches.iter().find(|patch| patch.patch == before.patch);
    let direction = patch.and_then(|patch| patch.transition.as_ref()).map(|moving| moving.to_patched);
    if direction == Some(before.to_patched) {
        return None;
    }
    let is_forced = |(patch, forced): &(String, Forced)| {
        *patch == before.patch && forced.ts_ns.0.saturating_add(CLOCKS_APART) >= before.since.0
    };
    // A transition that ended for the original functions while it was last seen going the other way was reversed in
    // between: the livepatch is gone.
    let how = if direction.is_some() || (before.to_patched && patch.is_none_or(|patch| !patch.enabled)) {
        Outcome::Reversed
    } else if seen.forced.iter().any(is_forced) {
        Outcome::Forced
    } else {
        Outcome::Complete
    };
    Some(Ended {
        patch: before.patch.clone(),
        to_patched: before.to_patched,
        how,
        took: Nanos(now.0.saturating_sub(before.since.0)),
        holders: before.holders.clone(),
    })
}

/// The clock of the kernel's log is the CPU's, and is not kept in step with `CLOCK_MONOTONIC`.
const CLOCKS_APART: u64 = 1_000_000_000;

fn stalls(patch: &PatchReport, transition: &PatchTransition) -> Condition {
    let PatchTransition { to_patched, age_ns, since, holders, tasks, .. } = transition;
    let least = if *since == Since::Log { "" } else { "at least " };
    let by = match (transition.holding, tasks.unread) {
        (0, 0) if !transition.sees_all => "tasks that are hidden from this process hold it".to_owned(),
        (0, 0) if holders.is_empty() => "every task of /proc has moved".to_owned(),
        (0, 0) => "every task of /proc has moved, so an idle task holds it".to_owned(),
        (0, unread) => format!("the state of {unread} tasks could not be read"),
        (1, _) => "1 task holds it".to_owned(),
        (holding, _) => format!("{holding} tasks hold it"),
    };
    let because = format!(
        "its transition to the {} functions has been under way for {least}{} s: {by}",
        target(*to_patched),
        age_ns.0 / 1_000_000_000,
    );
    let back = u8::from(!*to_patched);
    let directory = format!("/sys/kernel/livepatch/{}", patch.patch);
    let help = format!(
        "let the holders leave the function, or turn back with `echo {back} > {directory}/enabled`; `echo 1 > \
         {directory}/force` ends it too, and gives consistency up"
    );
    Condition {
        holders: holders.clone(),
        help: Some(help),
        key: key(transition),
        ..Condition::new(RuleId::TransitionStalled, Severity::Warning, patch.patch.clone(), because)
    }
}

/// The set of those that hold it. Who has no patched function on the stack may be moved any moment, and counts only
/// where nobody has.
fn key(transition: &PatchTransition) -> String {
    let holders = &transition.holders;
    let sit = |holder: &&Holder| holder.function.is_some();
    let are_sitting = holders.iter().any(|holder| sit(&holder));
    let mut names: Vec<String> = holders
        .iter()
        .filter(|holder| !are_sitting || sit(holder))
        .map(|Holder { task, function, .. }| {
            let pid = task.as_ref().map_or_else(|| "idle".to_owned(), |task| task.pid.to_string());
            format!("{pid} {}", function.as_deref().unwrap_or_default())
        })
        .collect();
    names.sort_unstable();
    format!("to {}: {}", target(transition.to_patched), names.join(", "))
}

fn was_forced(patch: &str, forced: &Forced, before: Option<&Moving>, in_run: bool) -> Condition {
    let known = before.map(|moving| moving.holders.as_slice()).unwrap_or_default();
    let holders = if forced.holders.is_empty() { known } else { &forced.holders };
    let when = if in_run { "" } else { " before this run" };
    let who = match holders.len() {
        0 => "who was in old code was not seen".to_owned(),
        1 => "1 task was in old code".to_owned(),
        tasks => format!("{tasks} tasks were in old code"),
    };
    let severity = if in_run { Severity::Error } else { Severity::Info };
    let because = format!("its transition was forced{when}: {who}");
    let help = "functions of before and after may run at once, and the module stays; restart to be sure";
    Condition {
        holders: holders.to_vec(),
        help: Some(help.to_owned()),
        key: forced.ts_ns.to_string(),
        ..Condition::new(RuleId::ConsistencyForced, severity, patch.to_owned(), because)
    }
}

#[cfg(test)]
mod tests;
