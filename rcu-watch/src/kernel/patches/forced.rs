//! Transitions that were forced. The kernel says so in its log alone; where a line of it is missing, a task shows it that
//! is still in a function that it had to leave before the transition could end.

use std::path::Path;

use rcu_watch_core::report::patches::{Forced, ForcedSource, PatchReport};
use rcu_watch_core::units::Nanos;

use crate::kernel::patches::Moving;
use crate::kernel::patches::holder::{Held, NAMED};
use crate::kernel::read::transition_log::{Entry, What};

/// Every transition that is known to have been forced, the oldest first.
#[derive(Debug, Default)]
pub(super) struct ForcedTransitions {
    all: Vec<(String, Forced)>,
    /// Entries of the log that were looked at.
    read: usize,
}

/// The clock of the log is the CPU's, and is not kept in step with `CLOCK_MONOTONIC`.
const CLOCKS_APART: u64 = 1_000_000_000;

impl ForcedTransitions {
    pub(super) fn all(&self) -> &[(String, Forced)] {
        &self.all
    }

    /// The last one of a livepatch since it was loaded.
    pub(super) fn of(&self, patch: &str, log: &[Entry]) -> Option<Forced> {
        let enabled = log.iter().rev().find(|entry| entry.patch == patch && entry.what == What::Enabled);
        let is_of = |(name, forced): &&(String, Forced)| {
            name == patch && enabled.is_none_or(|enabled| forced.ts_ns >= enabled.ts)
        };
        self.all.iter().rev().find(is_of).map(|(_, forced)| forced.clone())
    }

    /// What the log says that was not read before. `before` has the transitions of the look before.
    pub(super) fn add_logged(&mut self, log: &[Entry], before: &[Moving]) {
        for Entry { ts, patch, .. } in log[self.read..].iter().filter(|entry| entry.what == What::Forced) {
            let moving = before.iter().find(|moving| moving.patch == *patch);
            let held = moving.map(|moving| moving.held.as_slice()).unwrap_or_default();
            self.add(patch, *ts, ForcedSource::Log, held.iter());
        }
        self.read = log.len();
    }

    /// What the tasks show that held the transitions of the look before.
    pub(super) fn add_seen(&mut self, proc: &Path, before: &[Moving], patches: &[PatchReport], now: Nanos) {
        for moving in before.iter().filter(|moving| has_ended(moving, patches)) {
            let is_known = |(patch, forced): &(String, Forced)| {
                *patch == moving.patch && forced.ts_ns.0.saturating_add(CLOCKS_APART) >= moving.seen.0
            };
            if self.all.iter().any(is_known) {
                continue;
            }
            let stay: Vec<&Held> = moving.held.iter().filter(|held| held.stays(proc)).collect();
            if !stay.is_empty() {
                self.add(&moving.patch, now, ForcedSource::Stack, stay.into_iter());
            }
        }
    }

    fn add<'a>(&mut self, patch: &str, ts_ns: Nanos, by: ForcedSource, held: impl Iterator<Item = &'a Held>) {
        let holders = held.take(NAMED).map(|held| held.report(None)).collect();
        self.all.push((patch.to_owned(), Forced { ts_ns, by, holders }));
    }
}

/// Whether the transition came where it went. One that was reversed may leave tasks where they are.
fn has_ended(moving: &Moving, patches: &[PatchReport]) -> bool {
    match patches.iter().find(|patch| patch.patch == moving.patch) {
        Some(patch) => patch.transition.is_none() && patch.enabled == moving.to_patched,
        None => !moving.to_patched,
    }
}
