//! System calls that no crate among the dependencies offers, behind safe functions.
//!
//! Nothing here knows what a call is made for.

pub(crate) mod affinity;
pub(crate) mod bpf;
pub(crate) mod breakpoint;
pub(crate) mod limit;
pub(crate) mod memory;
