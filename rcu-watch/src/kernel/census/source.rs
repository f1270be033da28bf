//! What the census is made of: the kernel's lists, read once, and why those that are missing could not be.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use rcu_watch_core::probe::Owner;

use crate::kernel::read::event::{self, ProbeEvent};
use crate::kernel::read::fprobe;
use crate::kernel::read::ftrace::{EnabledFunction, each_enabled};
use crate::kernel::read::holder::Holders;
use crate::kernel::read::kprobe::{self, Kprobe};
use crate::kernel::read::kprobe_table::Registered;
use crate::kernel::read::livepatch::{self, Livepatch};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::pin::Pins;
use crate::kernel::read::program::BpfObjects;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::SymbolTable;
use crate::kernel::read::tracer::{self, Tracer};
use crate::sys::bpf::link::{Link, LinkedTo};

/// Why nothing that hangs on ftrace runs.
pub(super) const SWITCHED_OFF: &str = "ftrace is switched off: kernel.ftrace_enabled is 0";

/// Everything that was read. Plain values, so that a captured kernel is a test.
#[derive(Debug)]
pub(super) struct Sources {
    pub livepatches: Result<Vec<Livepatch>, Reason>,
    pub kprobes: Result<Vec<Kprobe>, Reason>,
    /// The same kprobes, as the kernel itself has them.
    pub registered: Result<Vec<Registered>, Reason>,
    pub events: Result<Vec<ProbeEvent>, Reason>,
    pub enabled: Result<Vec<EnabledFunction>, Reason>,
    pub symbols: Result<SymbolTable, Reason>,
    pub tracers: Vec<Tracer>,
    pub uprobes: u64,
    /// What is switched off for everybody.
    pub switches: Switches,
    /// The kernel skips fprobes while RCU is not watching.
    pub fprobe_looks_first: bool,
    /// The modules that are loaded.
    pub modules: BTreeSet<String>,
    pub programs: Result<BpfObjects, Reason>,
    pub holders: Holders,
    pub pins: Pins,
    pub has_debugfs: bool,
    /// Some list of handlers could be read.
    pub read_any: bool,
}

impl Sources {
    /// Who has files of this instance of tracefs open, else the instance itself.
    pub(super) fn of_instance(&self, instance: Option<&String>) -> Owner {
        let name = instance.cloned();
        let holder = self.holders.owner(self.holders.instances.get(&name));
        holder.unwrap_or(Owner::Instance { name })
    }

    pub(super) fn read(tree: &Tree) -> Self {
        let programs = BpfObjects::read(tree);
        let holders = Holders::read(tree);
        // A kernel without tracefs has nothing that is listed there.
        let has_tracefs = tree.offers("tracefs");
        let tracefs = tree.tracefs();
        let read_any = tracefs.is_ok()
            || tree.debugfs().is_ok()
            || programs.is_ok()
            || std::fs::read_dir(tree.path("/sys/kernel/livepatch")).is_ok();
        let tracers = tracefs.as_ref().map(|tracefs| tracer::read(tree, tracefs)).unwrap_or_default();
        let everywhere = |callback: &str| {
            tracers.iter().any(|tracer| tracer.functions.is_none() && tracer.callback == callback)
        };
        let enabled = match &tracefs {
            Ok(tracefs) => {
                let path = tracefs.join("enabled_functions");
                read_if_there(&path, |file| enabled_functions(file, everywhere))
            }
            Err(reason) if has_tracefs => Err(reason.clone()),
            Err(_) => Ok(Vec::new()),
        };
        let kprobes = tree.debugfs().and_then(|debugfs| {
            let path = debugfs.join("kprobes/list");
            read_if_there(&path, kprobe::read)
        });
        let fprobe = enabled.as_ref().ok().and_then(|functions| {
            let callbacks = functions.iter().flat_map(|function| &function.callbacks);
            callbacks.map(String::as_str).find(|name| name.starts_with(fprobe::PREFIX))
        });
        let events = match &tracefs {
            Ok(tracefs) => {
                event::read(tracefs).map_err(|e| Reason::unreadable(&tracefs.join("kprobe_events"), &e))
            }
            Err(reason) if has_tracefs => Err(reason.clone()),
            Err(_) => Ok(Vec::new()),
        };
        let is_fprobe = |link: &Link| matches!(link.on, LinkedTo::Kprobes { .. });
        let has_fprobe_programs =
            programs.as_ref().is_ok_and(|programs| programs.links.iter().any(is_fprobe));
        let by = fprobe::by(fprobe, events.as_deref().unwrap_or_default(), has_fprobe_programs);
        Self {
            livepatches: livepatch::read(&tree.path("/sys/kernel/livepatch")),
            events,
            symbols: symbols(tree),
            uprobes: tracefs.as_ref().map_or(0, |tracefs| event::uprobes(tracefs)),
            switches: Switches::read(tree),
            fprobe_looks_first: by.is_some_and(|by| fprobe::looks_first(tree, by)),
            modules: modules(tree),
            pins: if programs.is_ok() { Pins::read(tree) } else { Pins::default() },
            programs,
            holders,
            has_debugfs: tree.offers("debugfs"),
            read_any,
            kprobes,
            registered: Ok(Vec::new()),
            enabled,
            tracers,
        }
    }
}

/// A list of a mounted file system that is not there is one that this kernel does not have: it is empty.
fn read_if_there<T: Default>(
    path: &std::path::Path,
    read: impl FnOnce(File) -> io::Result<T>,
) -> Result<T, Reason> {
    match File::open(path).and_then(read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        read => read.map_err(|e| Reason::unreadable(path, &e)),
    }
}

/// Functions with ftrace handlers, without those that have nothing but a tracer that is on every function: there are
/// 40,000 of them.
fn enabled_functions(source: File, everywhere: impl Fn(&str) -> bool) -> io::Result<Vec<EnabledFunction>> {
    let mut functions = Vec::new();
    each_enabled(source, |function| {
        let has_only_that = function.handlers == 1
            && !function.callbacks.is_empty()
            && function.callbacks.iter().all(|callback| everywhere(callback));
        if !has_only_that {
            functions.push(function);
        }
    })?;
    Ok(functions)
}

fn symbols(tree: &Tree) -> Result<SymbolTable, Reason> {
    let path = tree.path("/proc/kallsyms");
    let table = SymbolTable::load(&path).map_err(|e| Reason::unreadable(&path, &e))?;
    if table.is_empty() {
        return Err(Reason::with_remedy("/proc/kallsyms hides its addresses", "run as root"));
    }
    Ok(table)
}

fn modules(tree: &Tree) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let _ = crate::kernel::read::line::each_line_of(&tree.path("/proc/modules"), |line| {
        modules.extend(line.split(' ').next().map(str::to_owned));
        std::ops::ControlFlow::Continue(())
    });
    modules
}
