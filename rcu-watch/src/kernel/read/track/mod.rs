//! What became of livepatches between two looks at sysfs.
//!
//! The kernel has no event for a livepatch, so its directory is read again and again, and what happened between two
//! looks is worked out. Three things make that hard. A directory is there before the kernel has made up its mind: a
//! livepatch counts as loaded when it is enabled, and one that goes without ever having been was refused. One that
//! goes at once may have been replaced. And one that was unloaded and loaded again has only a new inode.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use rcu_watch_core::report::plan::Event;

use crate::kernel::read::line::first_line;
use crate::kernel::read::livepatch::{Found, Livepatch, PatchedFunction, find};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::refusal;
use crate::kernel::read::transition_log::{TransitionLog, was_forced};

/// How long after the end of its transition a livepatch may still be taking out those that it replaces, which the
/// kernel does from a worker (kernel/livepatch/core.c:klp_free_replaced_patches_async).
const REPLACES_FOR: Duration = Duration::from_secs(1);
/// The same where the kernel does not say which livepatches replace others.
const MAY_REPLACE_FOR: Duration = Duration::from_millis(250);

const UNSEEN: &str = "it began and ended between two looks";
const FORCED: &str = "it was forced: tasks may run old and new code at once";
const UNDER_WAY: &str = "it was under way when rcu-watch started";

/// One event of one livepatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LivepatchEvent {
    pub patch: String,
    pub event: Event,
    /// Of a transition: towards the patched functions.
    pub to_patched: bool,
    /// The functions that it replaces.
    pub functions: Vec<PatchedFunction>,
    /// What else is to be said of it, in half a sentence.
    pub because: Option<String>,
    /// Of a transition that ends: how long it took, where both ends were seen.
    pub took: Option<Duration>,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub events: Vec<LivepatchEvent>,
    /// A module that some livepatch waits for came, or one that it is in went.
    pub objects_moved: bool,
}

/// The livepatches as they were last seen.
#[derive(Debug)]
pub(crate) struct Livepatches {
    tree: Tree,
    seen: Vec<Tracked>,
    /// What the first look is to tell of those that were there before.
    first: Vec<LivepatchEvent>,
    /// Modules that livepatches are for, and that are loaded.
    objects: Vec<String>,
    /// The kernel's log, where only it tells.
    log: TransitionLog,
}

impl Livepatches {
    /// Starts from what was there when the run was planned: what happened since is told.
    #[must_use]
    pub(crate) fn new(tree: Tree, at_start: &[Livepatch]) -> Self {
        let is_live = |name: &str| is_live(&tree, name);
        let seen: Vec<_> = at_start.iter().map(|patch| Tracked::at_start(patch, is_live)).collect();
        let first = seen.iter().filter_map(Tracked::under_way).collect();
        let objects = objects(&tree, at_start);
        let log = TransitionLog::open(&tree);
        Self { seen, first, objects, log, tree }
    }

    /// What happened since the last look.
    pub(crate) fn look(&mut self) -> News {
        let mut events = std::mem::take(&mut self.first);
        // Where the directory cannot be read, nothing is known to have happened.
        let Ok(now) = find(&self.tree.path("/sys/kernel/livepatch")) else {
            return News { events, objects_moved: false };
        };
        let objects = objects(&self.tree, &now.whole);
        let tree = &self.tree;
        let mut look = Look {
            at: Instant::now(),
            is_live: &|name| is_live(tree, name),
            refused: &|patch| refusal::why(tree, patch),
            all: Vec::new(),
        };
        look.track(&mut self.seen, now);
        events.append(&mut look.all);
        for event in events.iter_mut().filter(|event| event.event == Event::TransitionEnd) {
            if was_forced(self.log.read(), &event.patch, event.to_patched) {
                event.because = Some(FORCED.to_owned());
            }
        }
        let objects_moved = std::mem::replace(&mut self.objects, objects) != self.objects;
        News { events, objects_moved }
    }
}

/// Whether the module is there and its init is over, so that the kernel has taken its livepatch.
fn is_live(tree: &Tree, module: &str) -> bool {
    first_line(&tree.path("/sys/module").join(module).join("initstate")).is_ok_and(|state| state == "live")
}

fn objects(tree: &Tree, patches: &[Livepatch]) -> Vec<String> {
    let functions = patches.iter().flat_map(|patch| &patch.functions);
    let mut objects: Vec<_> = functions
        .map(|function| &function.object)
        .filter(|object| *object != "vmlinux" && tree.path("/sys/module").join(object).is_dir())
        .cloned()
        .collect();
    objects.sort();
    objects.dedup();
    objects
}

/// A transition that a livepatch is in.
#[derive(Clone, Copy, Debug)]
struct Moving {
    to_patched: bool,
    /// When it was first seen; `None`: it is older than this run.
    since: Option<Instant>,
}

/// A livepatch and where it stands.
#[derive(Clone, Debug)]
struct Tracked {
    patch: Livepatch,
    /// The kernel has taken it.
    is_loaded: bool,
    /// Tasks run the patched functions; in a transition: ran them before it.
    settled: bool,
    moving: Option<Moving>,
    /// When it had moved all tasks to its functions.
    completed: Option<Instant>,
}

impl Tracked {
    fn new(patch: Livepatch) -> Self {
        Self { patch, is_loaded: false, settled: false, moving: None, completed: None }
    }

    /// One that was there before the first look.
    fn at_start(patch: &Livepatch, is_live: impl Fn(&str) -> bool) -> Self {
        let Livepatch { enabled, in_transition, .. } = *patch;
        let is_loaded = enabled || is_live(&patch.name);
        Self {
            is_loaded,
            settled: enabled != in_transition && is_loaded,
            moving: (in_transition && is_loaded).then_some(Moving { to_patched: enabled, since: None }),
            ..Self::new(patch.clone())
        }
    }

    fn under_way(&self) -> Option<LivepatchEvent> {
        let Moving { to_patched, .. } = self.moving?;
        Some(self.event(Event::TransitionStart, to_patched).because(UNDER_WAY))
    }

    fn event(&self, event: Event, to_patched: bool) -> LivepatchEvent {
        let Livepatch { name, functions, .. } = &self.patch;
        LivepatchEvent {
            patch: name.clone(),
            event,
            to_patched,
            functions: functions.clone(),
            because: None,
            took: None,
        }
    }

    fn is(&self, patch: &Livepatch) -> bool {
        self.patch.name == patch.name && self.patch.inode == patch.inode
    }

    /// Whether it may be taking out the others: only one livepatch at a time is in a transition, and the one whose
    /// transition replaces the others ends them with its own.
    fn replaces(&self, at: Instant) -> bool {
        let time = match self.patch.replace {
            Some(true) => REPLACES_FOR,
            Some(false) => return false,
            None => MAY_REPLACE_FOR,
        };
        let is_moving = self.moving.is_some_and(|moving| moving.to_patched);
        is_moving || self.completed.is_some_and(|completed| at.duration_since(completed) < time)
    }

    /// A directory loses its functions before it goes.
    fn update(&mut self, now: Livepatch) {
        let before = std::mem::replace(&mut self.patch, now);
        if before.functions.len() > self.patch.functions.len() {
            self.patch.functions = before.functions;
        }
    }
}

impl LivepatchEvent {
    fn because(self, why: impl Into<String>) -> Self {
        Self { because: Some(why.into()), ..self }
    }
}

/// One look, and what it tells.
struct Look<'a> {
    at: Instant,
    is_live: &'a dyn Fn(&str) -> bool,
    /// Why the kernel did not take a livepatch.
    refused: &'a dyn Fn(&Livepatch) -> String,
    all: Vec<LivepatchEvent>,
}

impl Look<'_> {
    /// Brings `seen` up to `now`, and tells what that took.
    fn track(&mut self, seen: &mut Vec<Tracked>, now: Found) {
        let Found { whole, torn } = now;
        // What is torn is between two states: the next look tells which.
        let stays = |tracked: &Tracked| {
            torn.contains(&tracked.patch.name) || whole.iter().any(|patch| tracked.is(patch))
        };
        let (stayed, gone): (Vec<_>, Vec<_>) = std::mem::take(seen).into_iter().partition(stays);
        *seen = stayed;
        // A name that is there again had to be let go of before it could come; what was replaced goes after.
        let is_again = |tracked: &Tracked| whole.iter().any(|patch| patch.name == tracked.patch.name);
        let (again, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(is_again);
        for tracked in again {
            self.leave(tracked, None, |_| false);
        }
        // Those that may be replaced come after those that may have replaced them.
        let (on, off): (Vec<_>, Vec<_>) = whole.into_iter().partition(|patch| patch.enabled);
        for patch in on.into_iter().chain(off) {
            let replaced_by = replacement(seen, &patch.name, self.at);
            if let Some(tracked) = seen.iter_mut().find(|tracked| tracked.is(&patch)) {
                self.step(tracked, patch, replaced_by.as_deref());
            } else {
                let mut tracked = Tracked::new(patch.clone());
                self.step(&mut tracked, patch, None);
                seen.push(tracked);
            }
        }
        for tracked in gone {
            let replaced_by = replacement(seen, &tracked.patch.name, self.at);
            self.leave(tracked, replaced_by.as_deref(), self.is_live);
        }
    }

    /// In kernel/livepatch/core.c:__klp_enable_patch, and in the function that disables, the transition begins
    /// before `enabled` is set: only from where a transition set out is it known where to.
    fn step(&mut self, tracked: &mut Tracked, now: Livepatch, replaced_by: Option<&str>) {
        let was_enabled = tracked.patch.enabled;
        tracked.update(now);
        let Livepatch { enabled, in_transition, .. } = tracked.patch;
        if !tracked.is_loaded {
            if !enabled && !(self.is_live)(&tracked.patch.name) {
                return;
            }
            self.load(tracked);
            if !enabled && in_transition {
                // It was enabled, and is being disabled.
                self.begin(tracked, true);
                self.begin(tracked, false);
            }
        }
        if let Some(by) = replaced_by
            && tracked.moving.is_none()
            && tracked.settled
            && !enabled
            && !in_transition
        {
            self.all.push(tracked.event(Event::Replaced, false).because(by));
            tracked.settled = false;
        }
        if tracked.moving.is_none() && (in_transition || enabled != tracked.settled) {
            self.begin(tracked, !tracked.settled);
        }
        let reversed = |to: bool| enabled != to && (was_enabled == to || !in_transition);
        if let Some(moving) = tracked.moving.filter(|moving| reversed(moving.to_patched)) {
            self.begin(tracked, !moving.to_patched);
        }
        if let Some(moving) = tracked.moving.filter(|_| !in_transition) {
            self.end(tracked, moving);
        }
    }

    fn load(&mut self, tracked: &mut Tracked) {
        tracked.is_loaded = true;
        self.all.push(tracked.event(Event::Load, true));
    }

    fn begin(&mut self, tracked: &mut Tracked, to_patched: bool) {
        self.all.push(tracked.event(Event::TransitionStart, to_patched));
        tracked.moving = Some(Moving { to_patched, since: Some(self.at) });
    }

    fn end(&mut self, tracked: &mut Tracked, moving: Moving) {
        let mut event = tracked.event(Event::TransitionEnd, moving.to_patched);
        match moving.since {
            Some(since) if since == self.at => event.because = Some(UNSEEN.to_owned()),
            since => event.took = since.map(|since| self.at.duration_since(since)),
        }
        self.all.push(event);
        (tracked.settled, tracked.moving) = (moving.to_patched, None);
        tracked.completed = moving.to_patched.then_some(self.at);
    }

    /// It is gone. If the kernel had taken it, it was disabled to the end or replaced.
    fn leave(&mut self, mut tracked: Tracked, replaced_by: Option<&str>, is_live: impl Fn(&str) -> bool) {
        if !tracked.is_loaded {
            if !is_live(&tracked.patch.name) {
                let why = (self.refused)(&tracked.patch);
                self.all.push(tracked.event(Event::Refused, true).because(why));
                return;
            }
            self.load(&mut tracked);
            self.begin(&mut tracked, true);
        }
        if let Some(by) = replaced_by
            && tracked.moving.is_none()
            && tracked.settled
        {
            self.all.push(tracked.event(Event::Replaced, false).because(by));
            tracked.settled = false;
        }
        let was_patched = tracked.moving.map_or(tracked.settled, |moving| moving.to_patched);
        if was_patched {
            self.begin(&mut tracked, false);
        }
        if let Some(moving) = tracked.moving {
            self.end(&mut tracked, moving);
        }
        self.all.push(tracked.event(Event::Unload, false));
    }
}

/// Which livepatch may have taken the place of the one of this name.
fn replacement(seen: &[Tracked], name: &str, at: Instant) -> Option<String> {
    let others = seen.iter().filter(|tracked| tracked.patch.name != name);
    others.into_iter().find(|tracked| tracked.replaces(at)).map(|tracked| tracked.patch.name.clone())
}
