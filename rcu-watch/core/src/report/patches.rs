//! Livepatches as the kernel has them now: what each replaces, and how far its transition has come.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::report::finding::Holder;
use crate::units::Nanos;

/// One livepatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchReport {
    /// Its module.
    pub patch: String,
    /// Tasks run its functions, or move to them; otherwise they move back to what was there before.
    pub enabled: bool,
    /// It takes over from every livepatch before it; absent where this kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// Its place among the livepatches, the oldest is 1; absent where neither source could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// What it patches, by module.
    pub objects: Vec<PatchedObject>,
    /// The transition that it is in; absent where it is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<PatchTransition>,
    /// Its transition was forced; absent where nothing says so, which does not mean that it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// What this kernel does not tell of it, or what could not be read, with the remedy where there is one.
    pub unknown: Vec<String>,
}

/// The place of a livepatch among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Order {
    /// The oldest is 1; of several that replace a function the one with the biggest number is on top.
    pub place: u32,
    /// Where that is from.
    pub by: OrderSource,
}

/// Where the order of livepatches is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderSource {
    /// `stack_order` of the livepatch in sysfs.
    StackOrder,
    /// The order in which the modules were loaded, by /proc/modules.
    Modules,
}

/// The kernel image or a module, and what a livepatch replaces there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchedObject {
    /// `vmlinux`, or the module.
    pub object: String,
    /// Whether its functions are replaced.
    pub state: ObjectState,
    /// What is replaced in it.
    pub functions: Vec<PatchedFunction>,
}

/// Whether the functions of an object are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// The kernel says that they are.
    Patched,
    /// The object is there; this kernel does not say whether its functions are replaced.
    Loaded,
    /// The object is there, and the kernel says that they are not.
    Unpatched,
    /// The module is not loaded; they are replaced when it is.
    Waiting,
}

/// A function that a livepatch replaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchedFunction {
    /// Its name.
    pub function: String,
    /// Which of the functions of this name in its object, from 1.
    pub sympos: u32,
    /// The livepatches that replace this function, the one on top first. Only the top one's function runs, but for
    /// tasks that a transition has not moved yet.
    pub stack: Vec<String>,
}

/// A transition under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchTransition {
    /// Towards the functions of this livepatch, or back from them.
    pub to_patched: bool,
    /// For how long it has been under way; at the least, where `since` is not `log`.
    pub age_ns: Nanos,
    /// How its age is known.
    pub since: Since,
    /// It is older than `--stall-after`.
    pub stalled: bool,
    /// Tasks of /proc by their state. Idle tasks are not among them.
    pub tasks: TaskStates,
    /// Every task of the kernel could be looked at: nobody is hidden from this process.
    pub sees_all: bool,
    /// Who holds it, those with a patched function on their stack first; no more than are told by name. An idle task
    /// is one of them where nobody else is left.
    pub holders: Vec<Holder>,
    /// How many tasks of /proc hold it, those that are not told by name included.
    pub holding: u64,
}

/// How the age of a transition is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// The kernel's log says when it began.
    Log,
    /// The livepatch has been in sysfs for so long: it began then, or was reversed later.
    Loaded,
    /// It has been seen for so long.
    Seen,
}

/// Tasks by `patch_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskStates {
    /// In no transition: the kernel has let go of them.
    pub none: u64,
    /// They run what was there before the livepatch.
    pub original: u64,
    /// They run the livepatch's functions.
    pub patched: u64,
    /// Their state could not be read.
    pub unread: u64,
}

impl PatchTransition {
    /// Tasks that have got where the transition goes.
    #[must_use]
    pub const fn moved(&self) -> u64 {
        if self.to_patched { self.tasks.patched } else { self.tasks.original }
    }
}

/// A transition that was ended by `force`: tasks were moved although they were in code that they may not be moved in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forced {
    /// When, by the kernel's log; else when it was seen.
    pub ts_ns: Nanos,
    /// How it is known.
    pub by: ForcedSource,
    /// The tasks that held the transition when it was last seen; empty where nobody looked.
    pub holders: Vec<Holder>,
}

/// How it is known that a transition was forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForcedSource {
    /// The kernel's log says so.
    Log,
    /// The transition is over, and a task that held it is still in the function that it had to leave.
    Stack,
}
