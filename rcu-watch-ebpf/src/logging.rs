//! The same programs, which also say what became of hits that they could not use: `rcu-watch -vv`.
//!
//! An object of its own: what is said takes more code than the rest, and every program would be loaded with it.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macros of aya-ebpf hand the context over by value")]

mod emit;
#[path = "log/spoken.rs"]
mod log;
mod maps;
mod object;
mod probes;
mod read;
#[path = "transport/ring.rs"]
mod transport;
