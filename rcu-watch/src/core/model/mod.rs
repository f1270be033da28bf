//! The algorithm by which a CPU tells RCU that it is idle, in user space or back: an executable specification.
//!
//! [`generation`] says where each kernel keeps the words and what they hold at rest, [`kernel`] what the
//! rules need to know of the kernel at hand, [`step`] what one memory write is and the machine that does it,
//! [`call`] RCU's own entry functions. At run time guards are tried on it; in the tests every interleaving is explored.

pub mod call;
pub mod generation;
pub mod kernel;
pub mod step;
