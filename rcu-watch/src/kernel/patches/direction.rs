//! Where a transition goes: to the patched functions, or back to the original ones.
//!
//! `enabled` does not tell as a transition begins. The kernel sets it last, both ways
//! (kernel/livepatch/core.c:__klp_enable_patch, __klp_disable_patch), and on a slow or busy machine what comes before
//! takes seconds: tasks move meanwhile, and the flag still says where they come from. So the log is asked first, then
//! what the look before saw, and the flag last.

use crate::kernel::patches::Moving;
use crate::kernel::read::livepatch::Livepatch;
use crate::kernel::read::transition_log::{Entry, What};

/// A livepatch that a look saw in no transition.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    patch: String,
    inode: u64,
    enabled: bool,
}

impl Settled {
    /// `None` where it is in a transition.
    pub(super) fn of(livepatch: &Livepatch) -> Option<Self> {
        let Livepatch { name, inode, enabled, in_transition, .. } = livepatch;
        (!in_transition).then(|| Self { patch: name.clone(), inode: *inode, enabled: *enabled })
    }

    pub(super) fn is_of(&self, livepatch: &Livepatch) -> bool {
        self.patch == livepatch.name && self.inode == livepatch.inode
    }
}

/// Whether the transition that `livepatch` is in goes to its functions. `before` and `settled` are what the look before
/// saw.
pub(super) fn to_patched(
    livepatch: &Livepatch,
    log: &[Entry],
    before: &[Moving],
    settled: &[Settled],
) -> bool {
    let logged = last(log, &livepatch.name);
    if let Some(What::Started { to_patched }) = logged {
        return to_patched;
    }
    if let Some(settled) = settled.iter().find(|settled| settled.is_of(livepatch)) {
        return !settled.enabled;
    }
    if let Some(moving) = before.iter().find(|moving| moving.is_of(livepatch)) {
        // One that is turned back has its flag changed first (klp_reverse_transition).
        return if moving.enabled == livepatch.enabled { moving.to_patched } else { livepatch.enabled };
    }
    match logged {
        Some(What::Enabled) => true,
        // The line of the one that is under way is about to come.
        Some(What::Complete { to_patched }) => !to_patched,
        _ => livepatch.enabled,
    }
}

/// The last word of the log of a livepatch, but for that it was forced.
fn last(log: &[Entry], patch: &str) -> Option<What> {
    let mut of_patch = log.iter().rev().filter(|entry| entry.patch == patch && entry.what != What::Forced);
    of_patch.next().map(|entry| entry.what)
}
