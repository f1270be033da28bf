//! The command line: what was typed, checked, and the exit code that a run ends with.
//!
//! Two layers. [`args`], `value` and `word` only validate what was typed and touch nothing outside;
//! `options` turns it into what is asked of the rest of the program, which knows nothing of a command line.
//! [`exit`] is the one place that knows the exit codes.

pub mod args;
pub mod exit;
mod options;
pub mod suggestion;
pub(crate) mod value;
pub(crate) mod word;
