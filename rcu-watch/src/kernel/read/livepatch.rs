//! Livepatches, from `/sys/kernel/livepatch/<patch>/<object>/<function>,<sympos>`, and what became of them between
//! two looks.
//!
//! The kernel has no event for a livepatch, so sysfs is read again and again, and what happened between two looks is
//! worked out: a livepatch that is new and not in transition was loaded and has gone through its transition, although
//! no look saw it. A livepatch that was unloaded and loaded again is told by the new inode of its directory.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rcu_watch_core::report::plan::Event;

use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;

/// One function of one livepatch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PatchedFunction {
    pub patch: String,
    /// `vmlinux`, or the module that the function is in.
    pub object: String,
    pub function: String,
    /// Which of the functions of this name, from 1.
    pub sympos: u32,
}

/// A livepatch and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Livepatch {
    pub name: String,
    pub enabled: bool,
    /// Tasks are still being moved to or from it.
    pub in_transition: bool,
    pub functions: Vec<PatchedFunction>,
    /// Inode of its directory, a new one each time that it is loaded.
    pub inode: u64,
}

/// One event of one livepatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LivepatchEvent {
    pub patch: String,
    pub event: Event,
    /// Of a transition: towards the patched functions.
    pub to_patched: bool,
    /// The functions that it replaces.
    pub functions: Vec<PatchedFunction>,
}

/// The livepatches as they were last seen.
#[derive(Debug)]
pub(crate) struct Livepatches {
    tree: Tree,
    seen: Vec<Tracked>,
}

impl Livepatches {
    /// Starts from what is there now.
    #[must_use]
    pub(crate) fn new(tree: Tree) -> Self {
        let mut livepatches = Self { tree, seen: Vec::new() };
        livepatches.look();
        livepatches
    }

    /// What happened since the last look.
    pub(crate) fn look(&mut self) -> Vec<LivepatchEvent> {
        // Where the directory cannot be read, nothing is known to have happened.
        let now = read(&self.tree.path("/sys/kernel/livepatch"));
        now.map_or_else(|_| Vec::new(), |now| track(&mut self.seen, now))
    }
}

/// A livepatch and where it stands.
#[derive(Clone, Debug)]
struct Tracked {
    patch: Livepatch,
    /// Tasks run the patched functions; in a transition: ran them before it.
    settled: bool,
    /// The transition that it is in: towards the patched functions?
    moving: Option<bool>,
}

/// Brings `seen` up to `now`, and says what that took.
fn track(seen: &mut Vec<Tracked>, now: Vec<Livepatch>) -> Vec<LivepatchEvent> {
    let mut all = Vec::new();
    let is = |tracked: &Tracked, patch: &Livepatch| {
        tracked.patch.name == patch.name && tracked.patch.inode == patch.inode
    };
    seen.retain(|tracked| {
        let stays = now.iter().any(|patch| is(tracked, patch));
        if !stays {
            tracked.leave(&mut all);
        }
        stays
    });
    for patch in now {
        if let Some(tracked) = seen.iter_mut().find(|tracked| is(tracked, &patch)) {
            tracked.step(patch, &mut all);
        } else {
            let mut tracked = Tracked { patch: patch.clone(), settled: false, moving: None };
            tracked.tell(&mut all, Event::Load, true);
            tracked.step(patch, &mut all);
            seen.push(tracked);
        }
    }
    all
}

impl Tracked {
    /// In kernel/livepatch/core.c:__klp_enable_patch, and in the function that disables, the transition begins
    /// before `enabled` is set: only from where a transition set out is it known where to.
    fn step(&mut self, now: Livepatch, all: &mut Vec<LivepatchEvent>) {
        let was_enabled = std::mem::replace(&mut self.patch, now).enabled;
        let Livepatch { enabled, in_transition, .. } = self.patch;
        if self.moving.is_none() && (in_transition || enabled != self.settled) {
            self.begin(!self.settled, all);
        }
        let reversed = |to: bool| enabled != to && (was_enabled == to || !in_transition);
        if let Some(to) = self.moving.filter(|&to| reversed(to)) {
            self.begin(!to, all);
        }
        if let Some(to) = self.moving.filter(|_| !in_transition) {
            self.tell(all, Event::TransitionEnd, to);
            (self.settled, self.moving) = (to, None);
        }
    }

    fn begin(&mut self, to: bool, all: &mut Vec<LivepatchEvent>) {
        self.tell(all, Event::TransitionStart, to);
        self.moving = Some(to);
    }

    /// It is gone: whatever it had been, it was disabled to the end.
    fn leave(&self, all: &mut Vec<LivepatchEvent>) {
        if self.moving == Some(true) || (self.moving.is_none() && self.settled) {
            self.tell(all, Event::TransitionStart, false);
        }
        if self.moving.is_some() || self.settled {
            self.tell(all, Event::TransitionEnd, false);
        }
        self.tell(all, Event::Unload, false);
    }

    fn tell(&self, all: &mut Vec<LivepatchEvent>, event: Event, to_patched: bool) {
        let Livepatch { name, functions, .. } = &self.patch;
        all.push(LivepatchEvent { patch: name.clone(), event, to_patched, functions: functions.clone() });
    }
}

/// All livepatches, sorted by name. None where the kernel has no livepatching.
///
/// # Errors
/// Where the directory is there but cannot be read.
pub(crate) fn read(sysfs: &Path) -> Result<Vec<Livepatch>, Reason> {
    let patches = match std::fs::read_dir(sysfs) {
        Ok(patches) => patches,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Reason::unreadable(sysfs, &e)),
    };
    let mut livepatches: Vec<_> = patches.flatten().map(|patch| read_one(&patch.path())).collect();
    livepatches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(livepatches)
}

fn read_one(patch: &Path) -> Livepatch {
    let name = file_name(patch);
    let flag = |file| std::fs::read_to_string(patch.join(file)).is_ok_and(|text| text.trim() == "1");
    let mut functions = Vec::new();
    for object in directories(patch) {
        for function in directories(&object) {
            if let Some((function, sympos)) = file_name(&function).rsplit_once(',') {
                functions.push(PatchedFunction {
                    patch: name.clone(),
                    object: file_name(&object),
                    function: function.to_owned(),
                    sympos: sympos.parse().unwrap_or(0),
                });
            }
        }
    }
    functions.sort();
    let inode = std::fs::metadata(patch).map_or(0, |metadata| metadata.ino());
    Livepatch { enabled: flag("enabled"), in_transition: flag("transition"), functions, inode, name }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directories(of: &Path) -> Vec<std::path::PathBuf> {
    // A livepatch can be removed while it is looked at.
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_come_with_their_object_and_position() {
        let root = tempfile::tempdir().unwrap();
        let patch = root.path().join("livepatch_idle");
        std::fs::create_dir_all(patch.join("vmlinux/arch_cpu_idle,1")).unwrap();
        std::fs::create_dir_all(patch.join("ext4/show,2")).unwrap();
        std::fs::write(patch.join("enabled"), "1\n").unwrap();
        std::fs::write(patch.join("transition"), "0\n").unwrap();
        let found = read(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].enabled && !found[0].in_transition);
        let names: Vec<_> =
            found[0].functions.iter().map(|f| (f.object.as_str(), f.function.as_str(), f.sympos)).collect();
        assert_eq!(names, [("ext4", "show", 2), ("vmlinux", "arch_cpu_idle", 1)]);
    }

    fn patch(enabled: bool, in_transition: bool, inode: u64) -> Vec<Livepatch> {
        vec![Livepatch { name: "p".into(), enabled, in_transition, functions: Vec::new(), inode }]
    }

    /// What each look tells: each event as its first letter, transitions with their direction.
    fn told(looks: &[Vec<Livepatch>]) -> Vec<String> {
        let letter = |happened: &LivepatchEvent| match (happened.event, happened.to_patched) {
            (Event::Load, _) => "L",
            (Event::TransitionStart, true) => "(",
            (Event::TransitionEnd, true) => ")",
            (Event::TransitionStart, false) => "[",
            (Event::TransitionEnd, false) => "]",
            (Event::Unload, _) => "U",
        };
        let mut seen = Vec::new();
        looks.iter().map(|now| track(&mut seen, now.clone()).iter().map(letter).collect()).collect()
    }

    #[test]
    fn a_livepatch_seen_at_every_step_is_told_step_by_step() {
        let looks = [
            patch(false, false, 1),
            // The transition begins before the flag is set, both ways.
            patch(false, true, 1),
            patch(true, true, 1),
            patch(true, false, 1),
            patch(true, true, 1),
            patch(false, true, 1),
            vec![],
        ];
        assert_eq!(told(&looks), ["L", "(", "", ")", "[", "", "]U"]);
    }

    #[test]
    fn what_no_look_saw_is_told_all_the_same() {
        assert_eq!(told(&[patch(true, false, 1), vec![]]), ["L()", "[]U"]);
        assert_eq!(told(&[patch(true, false, 1), patch(true, false, 2)]), ["L()", "[]UL()"]);
        assert_eq!(told(&[patch(false, true, 1), vec![]]), ["L(", "[]U"]);
        assert_eq!(told(&[patch(true, false, 1), patch(false, false, 1)]), ["L()", "[]"]);
        // It could not be enabled, or nobody looked in time.
        assert_eq!(told(&[patch(false, false, 1), vec![]]), ["L", "U"]);
    }

    #[test]
    fn a_transition_that_is_reversed_begins_again() {
        let forth = [patch(true, true, 1), patch(false, true, 1), patch(false, false, 1)];
        assert_eq!(told(&forth), ["L(", "[", "]"]);
        let back =
            [patch(true, false, 1), patch(false, true, 1), patch(true, true, 1), patch(true, false, 1)];
        assert_eq!(told(&back), ["L()", "[", "(", ")"]);
        let unseen = [patch(true, true, 1), patch(false, false, 1)];
        assert_eq!(told(&unseen), ["L(", "[]"]);
    }

    #[test]
    fn a_kernel_without_livepatching_has_no_livepatches() {
        assert_eq!(read(Path::new("/nonexistent/livepatch")), Ok(Vec::new()));
    }
}
