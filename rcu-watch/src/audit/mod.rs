//! `audit`: every traceable function that this kernel runs with RCU off, by two kinds of independent evidence.
//!
//! ```text
//! ftrace, own instance -> pages -> entries -> EQS intervals -> suspects -> a probe on each -> rules -> verdicts
//! ```
//! [`trace`] finds suspects among all functions at once, by the order of entries in each CPU's trace; its word is
//! a hint. [`prober`] puts a probe that reads the state on each suspect; its word is the verdict, and `check`
//! uses it too. [`mod@format`], [`page`], [`interval`] and [`suspect`] are pure. The hard part is to leave nothing
//! behind: see [`instance`] and [`guard`].

pub(crate) mod consent;
pub(crate) mod format;
pub(crate) mod guard;
pub(crate) mod instance;
pub(crate) mod interval;
pub(crate) mod page;
pub(crate) mod prober;
pub(crate) mod progress;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod stop;
pub(crate) mod suspect;
pub(crate) mod trace;
