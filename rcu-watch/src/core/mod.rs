//! The judge: from bytes to verdicts, and nothing else.
//!
//! `decode -> order -> model (per CPU) -> rules`: everything here takes bytes and time as arguments and
//! returns values. No clock, no file, no kernel interface and no `unsafe` is named in this module; the same
//! code runs live, over a recording and over the model's whole state space.

pub mod cause;
pub mod decode;
pub mod finding;
pub mod fold;
pub mod model;
pub mod order;
pub mod pipeline;
pub mod probe;
pub mod rules;
pub mod snapshot;
pub mod track;
pub mod units;
pub mod vantage;
