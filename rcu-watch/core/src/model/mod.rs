//! The algorithm by which a CPU tells RCU that it is idle, in user space or back: an executable specification.
//!
//! [`generation`] says where each kernel keeps the words and what they hold at rest, [`kernel`] what the
//! rules need to know of the kernel at hand, `step` what one memory write is and the machine that does it,
//! `call` RCU's own entry functions, `transition` what a CPU runs.
//! `explore` walks every interleaving, `observe` puts probes everywhere, [`proof`] and [`mutant`] say what came of it.
//! At run time guards are tried on it; in the tests every interleaving is explored.

pub(crate) mod call;
pub(crate) mod explore;
pub mod generation;
pub mod guarded;
pub mod kernel;
pub mod mutant;
pub(crate) mod observe;
pub mod proof;
pub(crate) mod step;
#[cfg(test)]
mod thread;
pub(crate) mod transition;
pub mod variant;
