//! What to attach on this kernel, and what stays unseen.
//!
//! [`points`] is the table of what can be watched; [`candidate`] says whether a mechanism can sit on a function;
//! [`select::select`] goes through the table with a `Planner` and returns an [`AttachPlan`]. All of it is functions
//! over [`Facts`](crate::kernel::Facts), so every kernel that was ever captured is a test.

mod attach_plan;
pub(crate) mod candidate;
mod entry;
pub(crate) mod glob;
mod legacy;
mod planner;
pub(crate) mod points;
mod request;
pub(crate) mod select;
pub(crate) mod transition;
mod watchpoint;

pub use attach_plan::AttachPlan;
pub(crate) use attach_plan::{PlannedProbe, PointChoice};
pub use request::{Request, Requirement, WatchpointMode};
