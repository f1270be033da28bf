//! What changed on the way: handlers that came and went, and probes that followed them.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::probe::Handler;
use crate::report::header::PlannedPoint;
use crate::units::Nanos;

/// What can happen to a livepatch, in the order in which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The kernel took it in.
    Load,
    /// Tasks begin to move to it, or away from it.
    TransitionStart,
    /// All tasks have moved.
    TransitionEnd,
    /// The kernel let go of it; its module can be unloaded.
    Unload,
    /// The kernel did not take it in, although its directory was there for a moment.
    Refused,
    /// Another livepatch took the place of all before it; what runs now are its functions.
    Replaced,
}

impl Event {
    /// As people read it.
    #[must_use]
    pub const fn phrase(self, to_patched: bool) -> &'static str {
        match (self, to_patched) {
            (Self::Load, _) => "loaded",
            (Self::TransitionStart, true) => "transition to the patched functions began",
            (Self::TransitionStart, false) => "transition to the original functions began",
            (Self::TransitionEnd, true) => "transition to the patched functions is complete",
            (Self::TransitionEnd, false) => "transition to the original functions is complete",
            (Self::Unload, _) => "unloaded",
            (Self::Refused, _) => "refused by the kernel",
            (Self::Replaced, _) => "replaced by another livepatch",
        }
    }
}

/// A livepatch came, moved tasks, or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LivepatchReport {
    /// Its module.
    pub patch: String,
    /// What happened to it.
    pub event: Event,
    /// Of a transition: towards the patched functions, or back to the original ones.
    pub to_patched: bool,
    /// `object:function` of all that it replaces.
    pub functions: Vec<String>,
    /// What else is to be said: why it was refused, what replaced it, that no look saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Of a transition that ends: how long it took, where both ends were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<Nanos>,
}

/// Since the header: handlers of a function changed, and the probe there with them; or a probe was found to fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanChange {
    /// The point as it is planned now.
    pub point: PlannedPoint,
    /// Whose handlers are on the function now, ours left out; empty when the last one left.
    pub handlers: Vec<Handler>,
    /// Why, in half a sentence.
    pub because: String,
}
