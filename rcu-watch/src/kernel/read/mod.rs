//! The kernel's files and answers, read to plain values.
//!
//! Each module knows one source: how its lines look, on which kernels, and what a source that cannot be read
//! means ([`support`]). Nothing here knows what is collected or what for: callers pass the names that they want.

pub(crate) mod btf;
pub(crate) mod config;
pub(crate) mod cpu;
pub(crate) mod event;
pub(crate) mod fprobe;
pub(crate) mod ftrace;
pub(crate) mod grace_period;
pub(crate) mod holder;
pub(crate) mod kmsg;
pub(crate) mod kprobe;
pub(crate) mod kprobe_table;
pub(crate) mod line;
pub(crate) mod livepatch;
pub(crate) mod module;
pub(crate) mod mount;
pub(crate) mod name;
pub(crate) mod patch_state;
pub(crate) mod pin;
pub(crate) mod privilege;
pub(crate) mod program;
pub(crate) mod refusal;
pub(crate) mod site;
pub(crate) mod support;
pub(crate) mod switch;
pub(crate) mod symbol;
pub(crate) mod text;
pub(crate) mod thread;
pub(crate) mod tracer;
pub(crate) mod track;
pub(crate) mod transition_log;
