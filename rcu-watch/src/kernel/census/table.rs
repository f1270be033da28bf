//! Whose the kprobes are that no list tells the owner of: by the functions that they call, out of kernel memory.
//!
//! Nothing is attached for it: a program that user space runs by hand reads the memory (`bpf/peek.rs`).

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;

use rcu_watch_core::probe::Owner;
use rcu_watch_core::report::HandlerReport;

use super::place::Functions;
use crate::kernel::read::btf;
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::kprobe_table::{self, Places, Registered};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::FoundSymbols;
use crate::sys::memory::KernelMemory;

/// kernel/trace/trace_kprobe.c: what the kprobes of probe events and of perf call, those with BPF programs among them.
const OF_EVENTS: &[&str] = &["kprobe_dispatcher", "kretprobe_dispatcher"];

/// Reads the kernel's own table of kprobes.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read<M: KernelMemory, E: Error>(
    tree: &Tree,
    memory: impl FnOnce() -> Result<M, E>,
) -> Result<Vec<Registered>, Reason> {
    let kallsyms = tree.path("/proc/kallsyms");
    let symbols = File::open(&kallsyms)
        .and_then(|file| FoundSymbols::read(file, |name| kprobe_table::SYMBOLS.contains(&name)))
        .map_err(|e| Reason::unreadable(&kallsyms, &e))?;
    let types = tree.path("/sys/kernel/btf/vmlinux");
    let file = File::open(&types).map_err(|e| Reason::unreadable(&types, &e))?;
    let types = btf::search(file, &kprobe_table::query()).map_err(|error| Reason::new(error.to_string()))?;
    let places = Places::find(&types, &symbols)?;
    let memory = memory().map_err(|error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Reason::with_remedy(
            format!("no program can read kernel memory here: {error}{cause}"),
            "run as root on a kernel since 5.10",
        )
    })?;
    kprobe_table::walk(&memory, &places)
        .map_err(|error| Reason::new(format!("kernel memory cannot be read: {error}")))
}

/// The kprobes of the table by their places, each to be taken once.
pub(super) struct Table<'a> {
    by_place: HashMap<(u64, bool), Vec<&'a Registered>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(registered: &'a [Registered], functions: &Functions<'_>) -> Self {
        let mut by_place: HashMap<_, Vec<&Registered>> = HashMap::new();
        for kprobe in registered {
            by_place.entry((kprobe.address, kprobe.is_return)).or_default().push(kprobe);
        }
        // Taken from the end: those of events and programs are mostly told by these.
        for kprobes in by_place.values_mut() {
            kprobes.sort_by_key(|kprobe| !is_of_events(kprobe, functions));
        }
        Self { by_place }
    }

    /// Says of the kprobe of a line what the table has at its place.
    pub(super) fn tell(&mut self, line: &Kprobe, functions: &Functions<'_>, handler: &mut HandlerReport) {
        let place = (line.address, line.is_return);
        let Some(kprobe) = self.by_place.get_mut(&place).and_then(Vec::pop) else { return };
        handler.misses = Some(kprobe.missed);
        let mut called = kprobe.handlers.iter().filter_map(|&at| functions.at(at));
        let Some((function, _)) = called.next() else { return };
        let calls = match function.module {
            Some(module) => {
                handler.owner = Some(Owner::Module { name: module.to_owned() });
                format!("calls {} [{module}]", function.name)
            }
            None if OF_EVENTS.contains(&function.name) => "of perf or of a BPF program".to_owned(),
            None => format!("calls {}", function.name),
        };
        handler.because.get_or_insert(calls);
    }
}

fn is_of_events(kprobe: &Registered, functions: &Functions<'_>) -> bool {
    let called = kprobe.handlers.iter().filter_map(|&at| functions.at(at));
    called.into_iter().any(|(function, _)| OF_EVENTS.contains(&function.name))
}
