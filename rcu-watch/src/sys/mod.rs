//! System calls that no crate among the dependencies offers, behind safe functions.
//!
//! Nothing here knows what a call is made for.

pub(crate) mod bpf;
pub(crate) mod breakpoint;
#[expect(dead_code, reason = "the looks that read kernel memory come next")]
pub(crate) mod memory;
