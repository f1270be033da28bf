//! What this kernel is, has and allows, and the attach plan that follows from it.
//!
//! [`facts`] asks the kernel once, from its own files and by trying what it lets a program do; a release
//! number is printed and never compared. [`layout`], [`select`] and [`attribution`] are functions over what
//! was found, so every kernel that was ever captured is a unit test. [`points`] is the only place that names
//! functions to attach to.

pub mod attribution;
pub mod bpf_call;
pub mod btf;
pub mod calibrate;
pub mod candidate;
pub mod cpu;
pub mod diagnosis;
mod entry;
pub mod facts;
pub mod feature;
pub mod follow;
pub mod fprobe;
pub mod ftrace;
pub mod kprobe;
pub mod layout;
pub mod legacy;
pub mod line;
pub mod livepatch;
pub mod mount;
pub mod name;
pub mod plan;
pub mod points;
pub mod privilege;
pub mod program;
pub mod select;
pub mod support;
pub mod symbol;
pub mod text;
mod watchpoint;

#[cfg(test)]
mod tests;

pub use facts::Facts;
pub use plan::AttachPlan;
pub use select::{Request, select};
