//! The same programs for kernels without a BPF ring buffer: all that differs is the way out.
//!
//! A second object, because every map of an object is made when it is loaded, used or not.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the macros of aya-ebpf hand the context over by value")]

mod emit;
#[path = "log/silent.rs"]
mod log;
mod maps;
mod object;
mod probes;
mod read;
#[path = "transport/perf.rs"]
mod transport;
