//! The judge of rcu-watch, and its words: from bytes to verdicts, and nothing else.
//!
//! `decode -> order -> model (per CPU) -> rules`: everything here takes bytes and time as arguments and returns values.
//! The crate has no `std`, so no clock, file, process or kernel interface can be named in it; the same code runs live,
//! over a recording and over the model's whole state space.
//!
//! A program that has no kernel to watch can judge a recording of one:
//!
//! ```
//! use rcu_watch_core::recording::{Terms, judge};
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
//! use rcu_watch_core::dmesg::Parser;
//! use rcu_watch_core::finding::RuleId;
//!
//! let log = "[   12.345678] RCU not on for: arch_cpu_idle+0x0/0x20\n";
//! let mut parser = Parser::default();
//! let mut splats: Vec<_> = log.lines().flat_map(|line| parser.line(line)).collect();
//! splats.extend(parser.finish());
//! assert_eq!(splats.len(), 1);
//! assert_eq!(splats[0].rule, RuleId::HandlerDropped);
//! assert_eq!(splats[0].function, "arch_cpu_idle");
//! ```
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
pub mod stream;
pub mod track;
pub mod units;
pub mod vantage;
pub mod verdict;

pub use seen::Seen;
