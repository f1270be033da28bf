//! rcu-watch: watches a live kernel for code that uses RCU where RCU is not watching.
//!
//! ```text
//! kernel hook -> probe program -> snapshot of this CPU -> EVENTS ring buffer -> decode -> order -> model (per CPU) -> rules -> sinks
//!                                      \-> LOSS, per-CPU counters ------------> every stage adds to it, every sink prints it
//! ```
//!
//! [`kernel`] and `bpf` deal with the kernel, and [`session`] runs them; `rcu_watch_core` judges and is pure;
//! [`sink`] prints; [`cli`] holds what a person typed, and [`commands`] does it. docs/architecture.md says which module
//! may use which.
//!
//! A program without a command line starts at [`kernel::probe`] and [`session::start()`]; see `examples/embed.rs`.

mod audit;
mod bpf;
mod check;
pub mod cli;
mod clock;
pub mod commands;
mod input;
pub mod kernel;
pub mod outlet;
pub mod recording;
pub mod session;
pub mod sink;
mod sys;
pub mod top;
