//! The judge of rcu-watch, and its words: from bytes to verdicts, and nothing else.
//!
//! `decode -> order -> model (per CPU) -> rules`: everything here takes bytes and time as arguments and returns values.
//! The crate has no `std`, so no clock, file, process or kernel interface can be named in it; the same code runs live,
//! over a recording and over the model's whole state space.
//!
//! A program that has no kernel to watch can judge a recording of one:
//!
//! ```
//! use rcu_watch_core::{Terms, judge};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/6.1.rec");
//! let recording = std::fs::read(path)?;
//! let judged = judge(&recording, &Terms::default())?;
//! println!("{}: {:?}", judged.header.kernel.release, judged.summary.verdict);
//! for finding in &judged.findings {
//!     println!("{} {} in {}", finding.rule, finding.name, finding.function);
//! }
//! assert_eq!(judged.exit.code(), judged.summary.exit_code);
//! # assert!(judged.header.kernel.release.starts_with("6.1") && !judged.findings.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! or read what a kernel said of itself:
//!
//! ```
//! use rcu_watch_core::RuleId;
//! use rcu_watch_core::dmesg::Parser;
//!
//! let log = "[   12.345678] RCU not on for: arch_cpu_idle+0x0/0x20\n";
//! let mut parser = Parser::default();
//! let mut splats: Vec<_> = log.lines().flat_map(|line| parser.line(line)).collect();
//! splats.extend(parser.finish());
//! assert_eq!(splats.len(), 1);
//! assert_eq!(splats[0].rule, RuleId::HandlerDropped);
//! assert_eq!(splats[0].function, "arch_cpu_idle");
//! ```
//!
//! What most users need is at the root: [`judge`] and what it takes and gives, the [`Envelope`] that each line of a
//! stream is, and the words of a verdict. [`recording`] plays a recording to an audience of one's own, [`stream`] says
//! what an audience hears, [`report`] has every message, [`dmesg`] the reader of logs, [`rules`] what each rule means.
//! A program that reads a kernel itself feeds a [`pipeline`] with records ([`decode`]) of a plan of [`probe`]s, and
//! says what the kernel is by [`model::kernel`]; [`calibration`], [`cause`], [`forecast`] and [`verdict`] judge what it read besides.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

pub mod calibration;
pub mod cause;
pub mod condition;
mod coverage;
pub mod decode;
pub mod dmesg;
mod finding;
mod fold;
pub mod forecast;
pub mod model;
mod order;
pub mod pipeline;
pub mod probe;
pub mod recording;
pub mod report;
pub mod rules;
mod seen;
pub mod shown;
pub mod snapshot;
pub mod stream;
mod track;
pub mod units;
mod vantage;
pub mod verdict;

pub use finding::{RuleId, Severity};
pub use recording::{Judged, Terms, judge};
pub use report::summary::{RunVerdict, Summary};
pub use report::{Envelope, FindingReport, Header, Message};
pub use verdict::{Exit, FailOn};
