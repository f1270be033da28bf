//! The command line: what was typed, checked, and the exit code that a run ends with.
//!
//! Two layers. [`args`] and [`value`] only validate what was typed and touch nothing outside; each command
//! turns its arguments into what to do. [`exit`] is the one place that knows the exit codes.

pub mod args;
pub mod exit;
pub mod glob;
pub mod value;
