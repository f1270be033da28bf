//! The records on the wire between rcu-watch's BPF programs and user space.
//!
//! Fixed-width integers with explicit padding only: no enum, `bool`, `Option`, `usize` or pointer crosses
//! the wire. Sizes and offsets are asserted in `layout`, at compile time.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod counter;
mod layout;
pub mod peek;
pub mod record;
pub mod slot;
