//! What changed on the way: handlers that came and went, and probes that followed them.

use serde::{Deserialize, Serialize};

use crate::core::probe::Handler;
use crate::kernel::livepatch::{Event, Happened};
use crate::report::header::PlannedPoint;

/// A livepatch came, moved tasks, or went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LivepatchReport {
    /// Its module.
    pub patch: String,
    pub event: Event,
    /// Of a transition: towards the patched functions, or back to the original ones.
    pub to_patched: bool,
    /// `object:function` of all that it replaces.
    pub functions: Vec<String>,
}

impl From<Happened> for LivepatchReport {
    fn from(happened: Happened) -> Self {
        let Happened { patch, event, to_patched, functions } = happened;
        let functions = functions.iter().map(|f| format!("{}:{}", f.object, f.function)).collect();
        Self { patch, event, to_patched, functions }
    }
}

/// Since the header: handlers of a function changed, and the probe there with them; or a probe was found to fire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanChange {
    pub point: PlannedPoint,
    /// Whose handlers are on the function now, ours left out; empty when the last one left.
    pub handlers: Vec<Handler>,
    /// Why, in half a sentence.
    pub because: String,
}
