//! The kernel's files and answers, read to plain values.
//!
//! Each module knows one source: how its lines look, on which kernels, and what a source that cannot be read
//! means ([`support`]). Nothing here knows what is collected or what for: callers pass the names that they want.

pub mod btf;
pub mod cpu;
pub mod fprobe;
pub mod ftrace;
pub mod kprobe;
pub mod line;
pub mod livepatch;
pub mod mount;
pub mod name;
pub mod privilege;
pub mod program;
pub mod support;
pub mod symbol;
pub mod text;
