//! rcu-watch: watches a live kernel for code that uses RCU where RCU is not watching.
//!
//! ```text
//! kernel hook -> probe program -> snapshot of this CPU -> EVENTS ring buffer -> decode -> order -> model (per CPU) -> rules -> sinks
//!                                      \-> LOSS, per-CPU counters ------------> every stage adds to it, every sink prints it
//! ```
//!
//! [`bpf`] and [`kernel`] deal with the kernel; `rcu_watch_core` judges and is pure; [`sink`] prints
//! it; [`cli`] and [`commands`] are what a person types and what it does.

pub mod audit;
pub mod bpf;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod kernel;
pub mod recording;
pub mod session;
pub mod sink;
pub mod sys;
pub mod top;
