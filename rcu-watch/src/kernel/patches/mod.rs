//! Every livepatch, and how far its transition has come: what `rcu-watch patches` prints, and what a run judges again
//! and again.
//!
//! sysfs says which transition is under way, /proc which tasks it waits for and where they are. When it began, and
//! whether it was forced, only the kernel's log tells; where that is closed, what was seen before stands in for it.
//! Tasks are read only while there is a transition, and stacks only of those that have not moved.

mod direction;
mod forced;
mod holder;
mod order;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcu_watch_core::condition::transition::PatchesSeen;
use rcu_watch_core::report::finding::Holder;
use rcu_watch_core::report::patches::{
    ObjectState, PatchReport, PatchTransition, PatchedFunction, PatchedObject, Since,
};
use rcu_watch_core::units::Nanos;

use crate::kernel::read::livepatch::{self, Livepatch};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::patch_state;
use crate::kernel::read::support::Reason;
use crate::kernel::read::transition_log::{self, TransitionLog};

use direction::Settled;
use forced::ForcedTransitions;
use holder::{Held, Leaving};
use order::Orders;

/// For how long every task of /proc must have moved before an idle task is named: the kernel looks once a second, and
/// rounds that up (kernel/livepatch/transition.c:klp_try_complete_transition).
pub(crate) const SETTLES: Nanos = Nanos(3_000_000_000);

/// Reads more of what changed while it was read.
const ATTEMPTS: u32 = 3;

const SYSFS: &str = "/sys/kernel/livepatch";

/// Looks at the livepatches.
#[derive(Debug)]
pub(crate) struct Patches {
    tree: Tree,
    log: TransitionLog,
    /// From which age on a transition counts as stalled.
    stall_after: Nanos,
    moving: Vec<Moving>,
    /// Those that were in no transition.
    settled: Vec<Settled>,
    forced: ForcedTransitions,
}

/// A transition that was seen.
#[derive(Clone, Debug)]
struct Moving {
    patch: String,
    inode: u64,
    to_patched: bool,
    /// What the flag of that name said.
    enabled: bool,
    /// When it was seen first.
    seen: Nanos,
    /// The livepatch was seen with this transition first, so this may be the one that it was loaded with.
    is_first: bool,
    /// Since when every task of /proc has moved.
    all_moved: Option<Nanos>,
    held: Vec<Held>,
}

impl Moving {
    fn is_of(&self, livepatch: &Livepatch) -> bool {
        self.patch == livepatch.name && self.inode == livepatch.inode
    }
}

impl Patches {
    #[must_use]
    pub(crate) fn new(tree: Tree, stall_after: Nanos) -> Self {
        let log = TransitionLog::open(&tree);
        let (moving, settled) = (Vec::new(), Vec::new());
        Self { tree, log, stall_after, moving, settled, forced: ForcedTransitions::default() }
    }

    /// Why this kernel has no livepatches at all.
    #[must_use]
    pub(crate) fn absent(&self) -> Option<Reason> {
        let missing = |path: &str| matches!(self.tree.path(path).try_exists(), Ok(false));
        if missing("/sys/kernel") {
            return Some(Reason::with_remedy("/sys is not mounted", "mount -t sysfs sysfs /sys"));
        }
        missing(SYSFS)
            .then(|| Reason::new("this kernel has no livepatching: it is built without CONFIG_LIVEPATCH"))
    }

    /// Looks at everything now, in `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// Where a list cannot be read that this kernel has.
    pub(crate) fn look(&mut self, now: Nanos) -> Result<PatchesSeen, Reason> {
        let sysfs = self.tree.path(SYSFS);
        let livepatches = whole(&sysfs)?;
        self.log.read();
        let orders = Orders::read(&self.tree, &sysfs, &livepatches);
        let before = std::mem::take(&mut self.moving);
        let settled = livepatches.iter().filter_map(Settled::of).collect();
        let settled = std::mem::replace(&mut self.settled, settled);
        let mut patches = Vec::new();
        for livepatch in &livepatches {
            let directory = sysfs.join(&livepatch.name);
            let Some(mut report) = self.report(livepatch, &livepatches, &directory, &orders) else {
                continue;
            };
            if livepatch.in_transition {
                let moving = self.moving(livepatch, &before, &settled, now);
                report.transition =
                    self.transition(livepatch, &livepatches, moving, now, &mut report.unknown)?;
            }
            patches.push(report);
        }
        let log = self.log.read();
        self.forced.add_logged(log, &before);
        self.forced.add_seen(&self.tree.path("/proc"), &before, &patches, now);
        for report in &mut patches {
            report.forced = self.forced.of(&report.patch, log);
        }
        Ok(PatchesSeen { patches, forced: self.forced.all().to_vec() })
    }

    /// All but its transition; `None` where it has gone since it was listed.
    fn report(
        &self,
        livepatch: &Livepatch,
        all: &[Livepatch],
        directory: &Path,
        orders: &Orders,
    ) -> Option<PatchReport> {
        let mut unknown = Vec::new();
        if livepatch.replace.is_none() {
            unknown.push("replace: this kernel does not tell whether it takes over from others".to_owned());
        }
        unknown.extend(
            self.log
                .closed()
                .map(|reason| format!("whether its transition was forced, and when it began: {reason}")),
        );
        let order = orders.of(&livepatch.name);
        if order.is_none() {
            unknown
                .push("which of several livepatches is on top: /proc/modules could not be read".to_owned());
        }
        let mut objects: Vec<PatchedObject> = Vec::new();
        for function in &livepatch.functions {
            if objects.last().is_none_or(|last| last.object != function.object) {
                let state = self.object_state(&directory.join(&function.object), &function.object, orders);
                let object = function.object.clone();
                objects.push(PatchedObject { object, state, functions: Vec::new() });
            }
            let stack = orders.stack_on(function, &livepatch.name, all);
            let (function, sympos) = (function.function.clone(), function.sympos);
            objects.last_mut()?.functions.push(PatchedFunction { function, sympos, stack });
        }
        // What is read of a directory that goes away is nothing, or half of it.
        directory.join("enabled").try_exists().is_ok_and(|is_there| is_there).then(|| PatchReport {
            patch: livepatch.name.clone(),
            enabled: livepatch.enabled,
            replace: livepatch.replace,
            order,
            objects,
            transition: None,
            forced: None,
            unknown,
        })
    }

    /// By `patched` of the object, which 6.1 brought (bb26cfd9e77e, "livepatch: add sysfs entry "patched" for each
    /// klp_object"), and by whether the module is there.
    fn object_state(&self, directory: &Path, object: &str, orders: &Orders) -> ObjectState {
        let is_loaded = object == "vmlinux"
            || orders.has_module(object)
            || self.tree.path("/sys/module").join(object).exists();
        match (flag(&directory.join("patched")), is_loaded) {
            (Some(true), _) => ObjectState::Patched,
            (_, false) => ObjectState::Waiting,
            (Some(false), true) => ObjectState::Unpatched,
            (None, true) => ObjectState::Loaded,
        }
    }

    /// What is known of its transition from the looks before.
    fn moving(
        &mut self,
        livepatch: &Livepatch,
        before: &[Moving],
        settled: &[Settled],
        now: Nanos,
    ) -> Moving {
        let to_patched = direction::to_patched(livepatch, self.log.read(), before, settled);
        let earlier = before.iter().find(|moving| moving.is_of(livepatch));
        let fresh = || Moving {
            patch: livepatch.name.clone(),
            inode: livepatch.inode,
            to_patched,
            enabled: livepatch.enabled,
            seen: now,
            is_first: earlier.is_none() && !settled.iter().any(|settled| settled.is_of(livepatch)),
            all_moved: None,
            held: Vec::new(),
        };
        let same = earlier.filter(|moving| moving.to_patched == to_patched).cloned();
        same.map_or_else(fresh, |same| Moving { enabled: livepatch.enabled, ..same })
    }

    /// `None` where it has ended while the tasks were read: what was read is of no transition then.
    fn transition(
        &mut self,
        livepatch: &Livepatch,
        all: &[Livepatch],
        mut moving: Moving,
        now: Nanos,
        unknown: &mut Vec<String>,
    ) -> Result<Option<PatchTransition>, Reason> {
        let (proc, directory) = (self.proc(), self.tree.path(SYSFS).join(&livepatch.name));
        let to_patched = moving.to_patched;
        let read = patch_state::read(&proc)?;
        let staying = if to_patched { read.original } else { read.patched };
        let holding = staying.len() as u64;
        let (age_ns, since) = self.age(&moving, &directory, now);
        let (held, unread) = holder::read(&proc, Leaving { livepatch, to_patched, all }, &staying);
        let enabled = flag(&directory.join("enabled"));
        let is_turned = enabled != Some(to_patched) && enabled != Some(livepatch.enabled);
        if flag(&directory.join("transition")) != Some(true) || is_turned {
            return Ok(None);
        }
        unknown.extend(unread);
        unknown.extend(read.hidden.as_ref().map(|reason| format!("some tasks: {reason}")));
        let all_moved = holding == 0 && read.hidden.is_none();
        moving.all_moved = all_moved.then(|| moving.all_moved.unwrap_or(now));
        let is_idle = moving.all_moved.is_some_and(|since| now.0.saturating_sub(since.0) >= SETTLES.0);
        let mut holders: Vec<Holder> =
            held.iter().take(holder::NAMED).map(|held| held.report(Some(age_ns))).collect();
        holders.extend(is_idle.then(holder::idle));
        // The clock of who forces it is not ours: those that were seen last are kept until they moved.
        if !held.is_empty() {
            moving.held = held;
        }
        self.moving.push(moving);
        let (tasks, sees_all) = (read.states, read.hidden.is_none());
        let stalled = age_ns >= self.stall_after;
        Ok(Some(PatchTransition { to_patched, age_ns, since, stalled, tasks, sees_all, holders, holding }))
    }

    fn proc(&self) -> PathBuf {
        self.tree.path("/proc")
    }

    /// By the log, else the longest that is sure. The directory is as old as its inode at the least, which is made when
    /// somebody looks for it first (fs/kernfs/inode.c:kernfs_init_inode).
    fn age(&mut self, moving: &Moving, directory: &Path, now: Nanos) -> (Nanos, Since) {
        if let Some(began) = transition_log::began(self.log.read(), &moving.patch, moving.to_patched) {
            return (Nanos(now.0.saturating_sub(began.0)), Since::Log);
        }
        let seen = Nanos(now.0.saturating_sub(moving.seen.0));
        let loaded = (moving.to_patched && moving.is_first).then(|| age_of(directory)).flatten();
        match loaded {
            Some(loaded) if loaded > seen => (loaded, Since::Loaded),
            _ => (seen, Since::Seen),
        }
    }
}

/// One that changed while it was read is read again, so that a transition is not taken for over.
fn whole(sysfs: &Path) -> Result<Vec<Livepatch>, Reason> {
    let mut found = livepatch::find(sysfs)?;
    for _ in 0..ATTEMPTS {
        if found.torn.is_empty() {
            break;
        }
        found = livepatch::find(sysfs)?;
    }
    Ok(found.whole)
}

fn age_of(directory: &Path) -> Option<Nanos> {
    let made = std::fs::metadata(directory).and_then(|metadata| metadata.modified()).ok()?;
    let age = SystemTime::now().duration_since(made).ok()?;
    u64::try_from(age.as_nanos()).ok().map(Nanos)
}

/// `None` where the file is not there.
fn flag(file: &Path) -> Option<bool> {
    std::fs::read_to_string(file).ok().map(|text| text.trim() == "1")
}
