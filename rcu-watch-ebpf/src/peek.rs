//! The program that reads kernel memory for user space, by itself: an object of its own, because every map of an
//! object is made when it is loaded, and most runs never ask.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macros of aya-ebpf hand the context over by value")]

mod object;
#[path = "probes/peek.rs"]
mod peek;
