//! What to attach on this kernel, and what stays unseen.
//!
//! [`points`] is the table of what can be watched; [`candidate`] says whether a mechanism can sit on a function;
//! [`select::select`] goes through the table with a `Planner` and returns an [`AttachPlan`]. All of it is functions
//! over [`Facts`](crate::kernel::Facts), so every kernel that was ever captured is a test.

mod attach_plan;
pub mod candidate;
mod entry;
pub mod glob;
mod legacy;
mod planner;
pub mod points;
mod request;
pub mod select;
pub mod transition;
mod watchpoint;

pub use attach_plan::{AttachPlan, PlannedProbe, PlannedRequirement, PointChoice};
pub use request::{Request, Requirement, WatchpointMode};
