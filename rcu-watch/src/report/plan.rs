//! What changed on the way: handlers that came and went, and probes that followed them.

use serde::Serialize;

use crate::report::header::{HandledSite, PlannedPoint};

/// A site's handlers changed while we watched: a livepatch was loaded, a tracer started or stopped.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandlersChanged {
    /// The site as it is now; without handlers when the last one left.
    pub site: HandledSite,
}

/// A point of the plan was attached, detached or found to fire since the header.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanChange {
    pub point: PlannedPoint,
    /// Why, in half a sentence.
    pub because: String,
}
