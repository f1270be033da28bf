//! `bpf(2)`, as far as aya does not offer it: trial loads, who has programs, and the counters of one.
//!
//! Attributes and answers are the kernel's own structs, by aya-obj. A kernel that is older than a struct refuses
//! only what it does not know and is not zero, and says how much of an answer it filled in: what lies behind
//! that is `None`, or 0 where the kernel itself says 0 for "not told".

mod call;
pub mod link;
pub mod map;
pub mod program;
pub mod trial;

pub use aya_obj::generated::bpf_prog_type;
