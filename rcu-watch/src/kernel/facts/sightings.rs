//! What each of the kernel's lists says of handlers, read once: `enabled_functions`, sysfs, the kprobes list, probe
//! events, tracers and BPF links. Plain values, so that a captured kernel is a test; `attribution` merges them.

use std::cell::LazyCell;
use std::fs::File;

use crate::kernel::facts::ask::Ask;
use crate::kernel::facts::own_kprobe::OwnKprobes;
use crate::kernel::read::event::{self, ProbeEvent};
use crate::kernel::read::fprobe;
use crate::kernel::read::ftrace::{EnabledFunction, each_enabled};
use crate::kernel::read::holder::Holders;
use crate::kernel::read::kprobe::{self, Kprobe};
use crate::kernel::read::livepatch::{self, Livepatch};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::program::ProgramSites;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::tracer::{self, Tracer};

/// Sites that are kept with their names; a tracer on every function of a kernel has 40,000.
const SITES_MAX: usize = 1024;

/// What each source said.
#[derive(Clone, Debug)]
pub(crate) struct Sightings {
    pub livepatches: Result<Vec<Livepatch>, Reason>,
    pub enabled: Result<Enabled, Reason>,
    pub kprobes: Result<Vec<Kprobe>, Reason>,
    pub programs: Result<ProgramSites, Reason>,
    /// Probe events; none where they could not be read.
    pub events: Vec<ProbeEvent>,
    /// Where the kernel's text starts, if an event counts from there.
    pub text_start: Option<u64>,
    pub tracers: Vec<Tracer>,
    /// What is switched off for everybody.
    pub switches: Switches,
    /// What kprobes this process has.
    pub own_kprobes: OwnKprobes,
    /// The kernel skips fprobes while RCU is not watching.
    pub fprobe_looks_first: bool,
    /// It skips whatever ftrace carries.
    pub ftrace_validates: bool,
}

/// `enabled_functions`, cut down to what can matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enabled {
    pub functions: Vec<EnabledFunction>,
    /// Functions left out, because there were more than are kept by name.
    pub more: u64,
}

impl Sightings {
    /// Reads every source. `matters` names functions that are kept whoever sits on them.
    #[must_use]
    pub(crate) fn read(tree: &Tree, kernel: &impl Ask, matters: impl Fn(&str) -> bool) -> Self {
        let tracefs = tree.tracefs();
        let read_kprobes = || {
            let path = tree.debugfs()?.join("kprobes/list");
            let file = File::open(&path).map_err(|e| Reason::unreadable(&path, &e))?;
            kprobe::read(file).map_err(|e| Reason::unreadable(&path, &e))
        };
        let enabled = tracefs.clone().and_then(|tracefs| {
            let path = tracefs.join("enabled_functions");
            match File::open(&path) {
                Ok(file) => Enabled::read(file, matters).map_err(|e| Reason::unreadable(&path, &e)),
                // tracefs without the file: nothing of this kernel can be hooked by ftrace.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Enabled::default()),
                Err(e) => Err(Reason::unreadable(&path, &e)),
            }
        });
        let fprobe = enabled.as_ref().ok().and_then(Enabled::fprobe);
        let kprobes = read_kprobes();
        let mut events =
            tracefs.as_ref().ok().and_then(|tracefs| event::read(tracefs).ok()).unwrap_or_default();
        let text_start = events.iter().any(ProbeEvent::is_by_text).then(|| text_start(tree)).flatten();
        let live = || kprobes.iter().flatten().filter(|kprobe| kprobe.is_live());
        let is_by_perf = |event: &&mut ProbeEvent| {
            event.on_in.is_empty() && live().any(|kprobe| event.is_at(kprobe, text_start))
        };
        let holders = LazyCell::new(|| Holders::read(tree));
        for event in events.iter_mut().filter(is_by_perf) {
            event.by_perf = holders.of_perf_event(&event.group, &event.name);
        }
        let programs = kernel.programs(tree);
        let has_fprobe_programs = programs.as_ref().is_ok_and(|programs| !programs.on_fprobe.is_empty());
        let by = fprobe::by(fprobe, &events, has_fprobe_programs);
        Self {
            fprobe_looks_first: by.is_some_and(|by| fprobe::looks_first(tree, by)),
            livepatches: livepatch::read(&tree.path("/sys/kernel/livepatch")),
            enabled,
            kprobes,
            programs,
            switches: Switches::read(tree),
            events,
            text_start,
            tracers: tracefs.map(|tracefs| tracer::read(tree, &tracefs)).unwrap_or_default(),
            own_kprobes: OwnKprobes::default(),
            ftrace_validates: false,
        }
    }

    /// Says that ftrace refuses handlers where RCU is off: that is told by more than who has handlers.
    #[must_use]
    pub(crate) fn with_validation(self, ftrace_validates: bool) -> Self {
        Self { ftrace_validates, ..self }
    }

    /// Says what kprobes this process has: between 5.15 and 6.6 no interface tells.
    #[must_use]
    pub(crate) fn with_own_kprobes(mut self, own: &OwnKprobes) -> Self {
        self.own_kprobes.clone_from(own);
        self
    }
}

fn text_start(tree: &Tree) -> Option<u64> {
    let file = File::open(tree.path("/proc/kallsyms")).ok()?;
    FoundSymbols::read(file, |name| name == "_text").ok()?.address("_text")
}

impl Enabled {
    /// The function by which ftrace calls fprobes, where there are any.
    fn fprobe(&self) -> Option<&str> {
        let callbacks = self.functions.iter().flat_map(|function| &function.callbacks);
        callbacks.map(String::as_str).find(|name| name.starts_with(fprobe::PREFIX))
    }

    /// # Errors
    /// That of the read.
    pub(crate) fn read(source: impl std::io::Read, matters: impl Fn(&str) -> bool) -> std::io::Result<Self> {
        let mut enabled = Self::default();
        each_enabled(source, |function| {
            if matters(&function.function) || enabled.functions.len() < SITES_MAX {
                enabled.functions.push(function);
            } else {
                enabled.more += 1;
            }
        })?;
        Ok(enabled)
    }
}
