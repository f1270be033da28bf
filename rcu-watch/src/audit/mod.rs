//! `audit`: every traceable function that this kernel runs with RCU off, by two kinds of independent evidence.
//!
//! ```text
//! ftrace, own instance -> pages -> entries -> EQS intervals -> suspects -> a probe on each -> rules -> verdicts
//! ```
//! [`trace`] finds suspects among all functions at once, by the order of entries in each CPU's trace; its word is
//! a hint. [`prober`] puts a probe that reads the state on each suspect; its word is the verdict, and `check`
//! uses it too. [`format`], [`page`], [`interval`] and [`suspect`] are pure. The hard part is to leave nothing
//! behind: see [`instance`] and [`guard`].

pub mod consent;
pub mod format;
pub mod guard;
pub mod instance;
pub mod interval;
pub mod page;
pub mod prober;
pub mod progress;
pub mod resume;
pub mod run;
pub mod stop;
pub mod suspect;
pub mod trace;
