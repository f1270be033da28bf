//! What this kernel is, has and allows, and the attach plan that follows from it.
//!
//! - `read`: the kernel's files and answers, to plain values.
//! - `facts`: what is collected of them, once. A release number is printed and never compared.
//! - `census`: every handler of this kernel, and whose it is.
//! - `plan`: what to attach, a function over the facts and what was asked for.
//! - `diagnosis`: what `doctor` says of the facts.
//! - `outlook`: what a handler that somebody wants to place would meet.
//! - `follow`: what changes in a run, and what to attach then.
//! - `signs`, `misses`: what a run looks at besides: handlers that cannot run, runs that the kernel skipped.
//! - `patches`: every livepatch, and how far its transition has come.
//!
//! Each may use those above it, and `read` uses none. So every kernel that was ever captured is a unit test.

pub(crate) mod census;
pub(crate) mod diagnosis;
pub(crate) mod facts;
pub(crate) mod follow;
pub(crate) mod misses;
pub(crate) mod outlook;
pub(crate) mod patches;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod signs;

#[cfg(test)]
mod tests;

pub use facts::Facts;
pub(crate) use facts::attribution;
pub(crate) use facts::own_kprobe;
pub(crate) use facts::{Questions, feature, layout};
pub use plan::glob::Glob;
pub use plan::select::select;
pub use plan::{AttachPlan, Request, Requirement, WatchpointMode};
pub(crate) use plan::{candidate, points};
pub(crate) use read::{
    cpu, grace_period, kmsg, line, livepatch, mount, support, symbol, text, thread, track,
};

pub(crate) use crate::sys::limit::as_started;
use facts::ask::{Ask, RunningKernel};
use read::mount::Tree;

/// Asks the running kernel.
#[must_use]
pub fn probe() -> Facts {
    facts_of(&Tree::live(), &RunningKernel)
}

/// Asks for everything that the plan and the diagnosis are made from.
fn facts_of(tree: &Tree, kernel: &impl Ask) -> Facts {
    let questions = Questions {
        names: points::functions().chain(diagnosis::SYMBOLS).collect(),
        with_parts: points::IDLE_VICTIMS,
        tracepoints: points::tracepoints().collect(),
        keeps_handlers: points::runs_in_eqs,
    };
    Facts::read(tree, kernel, questions)
}
