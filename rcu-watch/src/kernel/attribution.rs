//! Whose handlers sit where: livepatches, ftrace handlers, kprobes and BPF programs merged by function.
//!
//! Each source sees a part. `enabled_functions` counts handlers and often does not name them; sysfs, the
//! kprobes list and the BPF links name some. [`merge`] takes the count as the truth, fills in names,
//! and leaves what nobody names as one handler called `unnamed` that is taken to rely on RCU. A source that
//! could not be read is in [`Handled::unseen`]: without it nobody can say that there is no handler.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use crate::core::probe::{Handler, HandlerKind, Reliance};
use crate::kernel::facts::Ask;
use crate::kernel::ftrace::{Callback, EnabledFunction, callback, each_enabled};
use crate::kernel::kprobe::{self, Kprobe};
use crate::kernel::line::{each_line_of, first_line};
use crate::kernel::livepatch::{self, Livepatch};
use crate::kernel::mount::Tree;
use crate::kernel::program::{OUR_PREFIX, Programs};
use crate::kernel::support::Reason;

/// Name of a handler that is counted by the kernel and named by nobody.
pub const UNNAMED: &str = "unnamed";

/// Sites that are kept with their names; a tracer on every function of a kernel has 40,000.
const SITES_MAX: usize = 1024;

/// What each source said.
#[derive(Clone, Debug)]
pub struct Sightings {
    pub livepatches: Result<Vec<Livepatch>, Reason>,
    pub enabled: Result<Enabled, Reason>,
    pub kprobes: Result<Vec<Kprobe>, Reason>,
    pub programs: Result<Programs, Reason>,
    pub tracers: Vec<Tracer>,
}

/// `enabled_functions`, cut down to what can matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    pub functions: Vec<EnabledFunction>,
    /// Functions left out: all their handlers are tracers that need no RCU, or there were too many.
    pub more: u64,
}

/// A tracer of ftrace's own that is switched on. It names its callback where the kernel does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    pub callback: &'static str,
    /// `None`: every function.
    pub functions: Option<Vec<String>>,
}

/// A function with handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    pub function: String,
    pub module: Option<String>,
    /// Of others.
    pub handlers: Vec<Handler>,
    /// Of this or another instance of rcu-watch.
    pub ours: Vec<Handler>,
}

impl Site {
    #[must_use]
    pub fn is_livepatched(&self) -> bool {
        self.handlers.iter().any(|handler| handler.kind == HandlerKind::Livepatch)
    }

    /// Some handler of others needs RCU to watch.
    #[must_use]
    pub fn relies(&self) -> bool {
        self.handlers.iter().any(|handler| handler.reliance == Reliance::Relies)
    }

    fn add(&mut self, handler: Handler) {
        let list = if handler.ours { &mut self.ours } else { &mut self.handlers };
        if !list.contains(&handler) {
            list.push(handler);
        }
    }
}

/// All sites, by function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    pub sites: Vec<Site>,
    /// Sites that are not in `sites`; see [`Enabled::more`].
    pub more: u64,
    /// Sources that could not be read: what they would have shown, and why.
    pub unseen: Vec<(&'static str, Reason)>,
    /// Names of the livepatches that are on or in transition.
    pub livepatches: Vec<String>,
}

impl Handled {
    #[must_use]
    pub fn site(&self, function: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.function == function)
    }
}

impl Sightings {
    /// Reads every source. `matters` names functions that are kept whoever sits on them.
    #[must_use]
    pub fn read(tree: &Tree, kernel: &impl Ask, matters: impl Fn(&str) -> bool) -> Self {
        let tracefs = tree.tracefs();
        let read_kprobes = || {
            let path = tree.debugfs()?.join("kprobes/list");
            let file = File::open(&path).map_err(|e| Reason::unreadable(&path, &e))?;
            kprobe::read(file).map_err(|e| Reason::unreadable(&path, &e))
        };
        Self {
            livepatches: livepatch::read(&tree.path("/sys/kernel/livepatch")),
            enabled: tracefs.clone().and_then(|tracefs| {
                let path = tracefs.join("enabled_functions");
                match File::open(&path) {
                    Ok(file) => Enabled::read(file, matters).map_err(|e| Reason::unreadable(&path, &e)),
                    // tracefs without the file: nothing of this kernel can be hooked by ftrace.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Enabled::default()),
                    Err(e) => Err(Reason::unreadable(&path, &e)),
                }
            }),
            kprobes: read_kprobes(),
            programs: kernel.programs(tree),
            tracers: tracefs.map(|tracefs| tracers(tree, &tracefs)).unwrap_or_default(),
        }
    }
}

impl Enabled {
    /// # Errors
    /// That of the read.
    pub fn read(source: impl std::io::Read, matters: impl Fn(&str) -> bool) -> std::io::Result<Self> {
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

/// Tracers that are on, in the top instance and all others.
fn tracers(tree: &Tree, tracefs: &std::path::Path) -> Vec<Tracer> {
    let mut tracers = Vec::new();
    let filter = |file: std::path::PathBuf| {
        let mut functions = Some(Vec::new());
        let _ = each_line_of(&file, |line| {
            if line.starts_with("####") {
                functions = None;
            } else if let Some(functions) = &mut functions {
                functions.push(line.split([' ', ':']).next().unwrap_or(line).to_owned());
            }
            std::ops::ControlFlow::Continue(())
        });
        functions
    };
    let instances = std::fs::read_dir(tracefs.join("instances")).into_iter().flatten().flatten();
    let mut places = vec![tracefs.to_owned()];
    places.extend(instances.map(|instance| instance.path()));
    for place in places {
        let callback = match first_line(&place.join("current_tracer")).unwrap_or_default().as_str() {
            "function" => "function_trace_call",
            "function_graph" => "ftrace_graph_func",
            _ => continue,
        };
        tracers.push(Tracer { callback, functions: filter(place.join("set_ftrace_filter")) });
    }
    if first_line(&tree.path("/proc/sys/kernel/stack_tracer_enabled")).is_ok_and(|on| on == "1") {
        let functions = filter(tracefs.join("stack_trace_filter"));
        tracers.push(Tracer { callback: "stack_trace_call", functions });
    }
    tracers
}

/// Merges what the sources said into sites.
#[must_use]
pub fn merge(sightings: &Sightings) -> Handled {
    let mut merger = Merger::default();
    let none = Programs::default();
    let programs = sightings.programs.as_ref().unwrap_or(&none);
    if let Ok(livepatches) = &sightings.livepatches {
        merger.livepatches(livepatches);
    }
    match &sightings.kprobes {
        Ok(kprobes) => merger.kprobes(kprobes, programs),
        Err(_) => merger.listed_kprobe_programs(programs),
    }
    merger.trampolines(programs);
    if let Ok(enabled) = &sightings.enabled {
        for function in &enabled.functions {
            merger.enabled(function, programs, &sightings.tracers);
        }
        merger.handled.more = enabled.more;
    }
    let mut handled = merger.handled;
    handled.sites =
        merger.sites.into_values().filter(|s| !s.handlers.is_empty() || !s.ours.is_empty()).collect();
    let unseen = [
        ("livepatches", sightings.livepatches.as_ref().err()),
        ("ftrace handlers", sightings.enabled.as_ref().err()),
        ("kprobes", sightings.kprobes.as_ref().err()),
        ("names of BPF programs", sightings.programs.as_ref().err()),
    ];
    handled.unseen = unseen.into_iter().filter_map(|(what, why)| Some((what, why?.clone()))).collect();
    handled
}

#[derive(Default)]
struct Merger {
    handled: Handled,
    sites: BTreeMap<String, Site>,
    /// Functions with a live kprobe that ftrace carries: one handler of theirs, however many probes.
    kprobed_on_ftrace: BTreeSet<String>,
}

fn bpf(name: &str, reliance: Reliance) -> Handler {
    let ours = name.starts_with(OUR_PREFIX);
    Handler { kind: HandlerKind::Bpf, name: name.to_owned(), reliance, ours }
}

impl Merger {
    fn site(&mut self, function: &str, module: Option<&str>) -> &mut Site {
        let site = self.sites.entry(function.to_owned()).or_default();
        if site.function.is_empty() {
            function.clone_into(&mut site.function);
        }
        if site.module.is_none() {
            site.module = module.map(str::to_owned);
        }
        site
    }

    fn livepatches(&mut self, livepatches: &[Livepatch]) {
        for patch in livepatches.iter().filter(|patch| patch.enabled || patch.in_transition) {
            self.handled.livepatches.push(patch.name.clone());
            for function in &patch.functions {
                let module = Some(function.object.as_str()).filter(|&object| object != "vmlinux");
                self.site(&function.function, module).add(Handler {
                    kind: HandlerKind::Livepatch,
                    name: patch.name.clone(),
                    // Its handler runs anywhere since 842c08846420 ("livepatch: Fix stacking of patches with
                    // respect to RCU"); the replacement that it calls is ordinary code.
                    reliance: Reliance::Relies,
                    ours: false,
                });
            }
        }
    }

    fn kprobes(&mut self, kprobes: &[Kprobe], programs: &Programs) {
        let mut owners: Vec<_> = programs.on_kprobe.iter().map(Some).collect();
        for kprobe in kprobes.iter().filter(|kprobe| kprobe.is_live()) {
            if kprobe.is_on_ftrace {
                self.kprobed_on_ftrace.insert(kprobe.function.clone());
            }
            let reliance = if kprobe.is_on_ftrace || kprobe.is_optimized {
                Reliance::Relies
            } else {
                Reliance::EntryCounted
            };
            // Several probes at one place have a line each: an owner stands for one of them.
            let owner = owners.iter_mut().find(|owner| owner.is_some_and(|owner| owner.is_at(kprobe)));
            let handler = match owner.and_then(Option::take) {
                Some(owner) => bpf(&owner.name, reliance),
                None => Handler {
                    kind: HandlerKind::Kprobe,
                    name: format!("{}+{:#x}", kprobe.function, kprobe.offset),
                    reliance,
                    ours: false,
                },
            };
            self.site(&kprobe.function, kprobe.module.as_deref()).add(handler);
        }
    }

    /// Without the kernel's list, the kprobes that BPF links tell of.
    fn listed_kprobe_programs(&mut self, programs: &Programs) {
        for program in programs.on_kprobe.iter().filter(|program| !program.function.is_empty()) {
            self.site(&program.function, None).add(bpf(&program.name, Reliance::Relies));
        }
    }

    fn trampolines(&mut self, programs: &Programs) {
        for (function, names) in &programs.on_function {
            for name in names {
                self.site(function, None).add(bpf(name, Reliance::Relies));
            }
        }
    }

    fn enabled(&mut self, function: &EnabledFunction, programs: &Programs, tracers: &[Tracer]) {
        let has_kprobe = self.kprobed_on_ftrace.contains(&function.function);
        let site = self.site(&function.function, function.module.as_deref());
        let mut counted = function.handlers;
        let named =
            |kind, name: &str, reliance| Handler { kind, name: name.to_owned(), reliance, ours: false };
        let has_kind = |site: &Site, kind| site.handlers.iter().chain(&site.ours).any(|h| h.kind == kind);
        let callbacks: Vec<_> = function.callbacks.iter().map(|name| (name, callback(name))).collect();
        let says = |what| callbacks.iter().any(|&(_, known)| known == what);

        if says(Callback::Livepatch) && !has_kind(site, HandlerKind::Livepatch) {
            site.add(named(HandlerKind::Livepatch, UNNAMED, Reliance::Relies));
        }
        if says(Callback::Kprobe) && !has_kprobe {
            site.add(named(HandlerKind::Kprobe, &function.function, Reliance::Relies));
        }
        if (function.has_direct || says(Callback::Trampoline))
            && !programs.on_function.contains_key(&function.function)
        {
            let unplaced = &programs.unplaced_tracing;
            match unplaced.iter().find(|name| name.starts_with(OUR_PREFIX)) {
                // The kernel does not tell whose it is, and there are no others than ours.
                Some(ours) if unplaced.iter().all(|name| name.starts_with(OUR_PREFIX)) => {
                    site.add(bpf(ours, Reliance::Relies));
                }
                _ => site.add(bpf(function.direct.as_deref().unwrap_or(UNNAMED), Reliance::Relies)),
            }
        }
        counted = counted.saturating_sub(u32::from(function.has_direct || says(Callback::Trampoline)));
        counted = counted.saturating_sub(u32::from(has_kind(site, HandlerKind::Livepatch)));
        counted = counted.saturating_sub(u32::from(says(Callback::Kprobe) || has_kprobe));

        let has_subops = callbacks.iter().any(|(name, _)| name.ends_with("_entry"));
        for (name, known) in &callbacks {
            if let Callback::Handler(reliance) = *known {
                counted = counted.saturating_sub(1);
                // With function-graph subops, they are the handlers.
                if !(has_subops && name.as_str() == "ftrace_graph_func") {
                    site.add(named(HandlerKind::FtraceOps, name, reliance));
                }
            }
        }
        for tracer in tracers {
            let is_on = tracer.functions.as_ref().is_none_or(|names| names.contains(&function.function));
            let is_new = !callbacks.iter().any(|(name, _)| name.as_str() == tracer.callback);
            if counted > 0 && is_on && is_new {
                counted -= 1;
                let Callback::Handler(reliance) = callback(tracer.callback) else { continue };
                site.add(named(HandlerKind::FtraceOps, tracer.callback, reliance));
            }
        }
        if counted > 0 {
            site.add(named(HandlerKind::FtraceOps, UNNAMED, Reliance::Relies));
        }
    }
}
