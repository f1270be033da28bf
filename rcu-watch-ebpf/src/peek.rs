//! The program that reads kernel memory for user space, by itself: an object of its own, because every map of an
//! object is made when it is loaded, and most runs never ask.
#![no_std]
#![no_main]

mod object;
#[path = "probes/peek.rs"]
mod peek;
