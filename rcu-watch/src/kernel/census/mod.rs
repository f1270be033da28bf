//! The census: every handler of this kernel, at its function and with its owner. Nothing is attached.
//!
//! The kernel has no list of its handlers. Each of its lists shows a part: sysfs the livepatches, debugfs the kprobes
//! without their owners, tracefs the events and tracers, `enabled_functions` how many handlers a function has. What
//! two lists show of one handler is put together by function, address and offset, and each line accounts for one
//! handler only; what no other list explains is listed as it stands.

mod ftrace;
mod kprobe;
mod livepatch;
mod place;
mod program;
mod replaced;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::error::Error;

use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerList, HookKind};

use crate::kernel::read::kprobe_table;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::sys::memory::KernelMemory;

use kprobe::Lines;
use place::Functions;
use source::Sources;

/// Every handler of a kernel.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// In order of function, place and kind.
    pub(crate) handlers: Vec<HandlerReport>,
    /// Lists that could not be read.
    pub(crate) unread: Vec<Unread>,
    /// Some list of handlers could be read.
    pub(crate) read_any: bool,
    /// Probes on user space.
    pub(crate) uprobes: u64,
}

/// A list that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) list: HandlerList,
    pub(crate) reason: Reason,
    /// This kernel has it.
    pub(crate) exists: bool,
}

/// Counts the handlers of the kernel whose files `tree` has. `memory` is opened only where a kprobe is there, whose owner
/// no list tells.
#[must_use]
pub(crate) fn take<M: KernelMemory, E: Error>(tree: &Tree, memory: impl FnOnce() -> Result<M, E>) -> Census {
    let mut sources = Sources::read(tree);
    if sources.kprobes.as_ref().is_ok_and(|kprobes| !kprobes.is_empty()) {
        sources.registered = kprobe_table::read(tree, memory);
    }
    of(&sources)
}

fn of(sources: &Sources) -> Census {
    let functions = Functions::new(sources.symbols.as_ref().ok());
    let mut census = Census { uprobes: sources.uprobes, read_any: sources.read_any, ..Census::default() };
    livepatch::count(sources, &functions, &mut census.handlers);
    let mut lines = Lines::new(sources.kprobes.as_deref().unwrap_or_default());
    kprobe::count(sources, &functions, &mut lines, &mut census.handlers);
    census.uprobes += program::count(sources, &functions, &mut lines, &mut census.handlers);
    kprobe::rest(&lines, sources, &functions, &mut census.handlers);
    ftrace::count(sources, &functions, &mut census.handlers);
    replaced::stop(sources.livepatches.as_deref().unwrap_or_default(), &mut census.handlers);
    census.handlers.sort_by(|a, b| {
        let key = |handler: &HandlerReport| (handler.address, handler.place, handler.offset, handler.kind);
        a.function.cmp(&b.function).then_with(|| key(a).cmp(&key(b))).then_with(|| a.name.cmp(&b.name))
    });
    let lists = [
        (HandlerList::Livepatches, sources.livepatches.as_ref().err()),
        (HandlerList::Kprobes, sources.kprobes.as_ref().err()),
        (HandlerList::ProbeEvents, sources.events.as_ref().err()),
        (HandlerList::Functions, sources.enabled.as_ref().err()),
        (HandlerList::Programs, sources.programs.as_ref().err()),
        (HandlerList::Owners, sources.holders.incomplete.as_ref()),
        (HandlerList::Addresses, sources.symbols.as_ref().err()),
    ];
    // Without debugfs the kernel has its kprobes and no list of them.
    let exists = |list| list != HandlerList::Kprobes || sources.has_debugfs;
    let unread = |(list, why): (HandlerList, Option<&Reason>)| {
        Some(Unread { list, reason: why?.clone(), exists: exists(list) })
    };
    census.unread = lists.into_iter().filter_map(unread).collect();
    if let Some(holder) = sources.holders.owner(Some(&sources.holders.plain_events)) {
        let why = format!(
            "what perf events without a BPF program are on, which may be tracepoints or functions: of {holder}"
        );
        census.unread.push(Unread { list: HandlerList::Owners, reason: Reason::new(why), exists: false });
    }
    let is_untold = |handler: &HandlerReport| {
        matches!(handler.kind, HookKind::Kprobe | HookKind::Kretprobe) && handler.owner.is_none()
    };
    if let Err(reason) = &sources.registered
        && census.handlers.iter().any(is_untold)
    {
        let why = format!("whose a kprobe is that no list names: {}", reason.why);
        // The kernel has no such list; that is its memory.
        let reason = Reason { why, ..reason.clone() };
        census.unread.push(Unread { list: HandlerList::Owners, reason, exists: false });
    }
    census
}
