//! `check`: before somebody patches or traces a function, is there evidence against it?
//!
//! ```text
//! FUNC... | PATCH.ko -> functions -> what is known (no probe) -> what is seen (the audit's prober) -> answers
//!                                 -> what the kernel's lists say (kernel::outlook)               -> forecasts
//! ```
//! [`unpack`] reads a module file, packed or not, [`patch`] a livepatch's ELF before it is loaded, [`answer`] judges; the
//! last two are pure. [`run`] asks the running kernel.

pub(crate) mod answer;
pub(crate) mod patch;
pub(crate) mod run;
mod unpack;
