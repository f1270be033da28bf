//! The judge of rcu-watch, and its words: from bytes to verdicts, and nothing else.
//!
//! `decode -> order -> model (per CPU) -> rules`: everything here takes bytes and time as arguments and returns values.
//! The crate has no `std`, so no clock, file, process or kernel interface can be named in it; the same code runs live,
//! over a recording and over the model's whole state space.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod calibration;
pub mod cause;
pub mod coverage;
pub mod decode;
pub mod dmesg;
pub mod finding;
pub mod fold;
pub mod model;
pub mod order;
pub mod pipeline;
pub mod probe;
pub mod recording;
pub mod report;
pub mod rules;
pub mod seen;
pub mod snapshot;
pub mod track;
pub mod units;
pub mod vantage;
pub mod verdict;

pub use seen::Seen;
