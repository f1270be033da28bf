//! `bpf(2)`, as far as aya does not offer it: trial loads, who has programs, and the counters of one.
//!
//! Attributes and answers are the kernel's own structs, by aya-obj. A kernel that is older than a struct refuses
//! only what it does not know and is not zero, and says how much of an answer it filled in: what lies behind
//! that is `None`, or 0 where the kernel itself says 0 for "not told".

mod call;
pub(crate) mod link;
pub(crate) mod map;
pub(crate) mod missed;
pub(crate) mod program;
pub(crate) mod trial;

pub(crate) use aya_obj::generated::bpf_prog_type;
