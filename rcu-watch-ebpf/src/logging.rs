//! The same programs, which also say what became of hits that they could not use: `rcu-watch -vv`.
//!
//! They are an object of their own, which is loaded with `-vv` only: the messages take more code than all the rest.
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
