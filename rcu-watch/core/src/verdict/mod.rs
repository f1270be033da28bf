//! From what a run found to what it is worth: the judgement, the exit code, and the tables that it rests on.
//!
//! The same for a run on a live kernel, a recording and a kernel's log, so that they cannot disagree. A rule's
//! coverage comes from [`coverage`].

mod exit;
mod judgement;
mod table;

pub use crate::coverage::coverage;
pub use exit::{Codes, Exit, Unsupported};
pub use judgement::{FailOn, judge};
pub use table::{findings, guards, repeats, totals};
