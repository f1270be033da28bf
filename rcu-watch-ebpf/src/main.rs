//! rcu-watch's BPF programs: read this CPU's RCU state, send it, count what could not be sent.
//!
//! No policy lives here beyond one cheap and certain question: is this CPU in the state that this probe
//! expects? Then the hit is counted as at rest and nothing is sent. Everything else user space judges.
//!
//! Each program is an object of its own, because the kernel's recursion guard is per program and CPU: a
//! program shared between contexts would lose the hit of the NMI that interrupts it.
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
#[path = "transport/ring.rs"]
mod transport;
