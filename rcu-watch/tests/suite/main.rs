//! Tests of what users see: the real binary, and every output to the letter. One program, so that it links once.
//!
//! After a wanted change of an output run with `RCU_WATCH_BLESS=1` and read the diff of tests/golden.

mod cli;
mod corpus;
mod dmesg;
mod docs;
mod golden;
mod hostile;
mod paper;
mod perfetto;
mod pipelines;
mod pipes;
mod properties;
mod recording;
mod sample;
mod top;
