//! Whose handlers sit where: livepatches, ftrace handlers, kprobes and BPF programs merged by function.
//!
//! Each source sees a part. `enabled_functions` counts handlers and often does not name them; sysfs, the
//! kprobes list and the BPF links name some. [`merge`] takes the count as the truth, fills in names,
//! and leaves what nobody names as one handler called `unnamed` that is taken to rely on RCU. A source that
//! could not be read is in [`Handled::unseen`]: without it nobody can say that there is no handler.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rcu_watch_core::probe::{Handler, HandlerKind, Reliance};

use crate::kernel::facts::own_kprobe::{self, OwnKprobe};
use crate::kernel::facts::sightings::Sightings;
use crate::kernel::read::event::ProbeEvent;
use crate::kernel::read::fprobe;
use crate::kernel::read::ftrace::{Callback, EnabledFunction, callback};
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::livepatch::Livepatch;
use crate::kernel::read::program::{KprobeProgram, NamedProgram, OUR_PREFIX, ProgramSites};
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;

/// Name of a handler that is counted by the kernel and named by nobody.
pub(crate) const UNNAMED: &str = "unnamed";

/// A function with handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    pub function: String,
    pub module: Option<String>,
    /// Handlers of others.
    pub handlers: Vec<Handler>,
    /// Handlers of this or another instance of rcu-watch.
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

/// The functions that have handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    pub sites: Vec<Site>,
    /// Sites that are not in `sites`; see [`Enabled::more`].
    pub more: u64,
    /// Sources that could not be read: what they would have shown, and why.
    pub unseen: Vec<(&'static str, Reason)>,
    /// Names of the livepatches that are on or in transition.
    pub livepatches: Vec<String>,
    /// What is switched off for everybody: handlers that cannot run for it are not in `sites`.
    pub switches: Switches,
}

impl Handled {
    #[must_use]
    pub fn site(&self, function: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.function == function)
    }
}

impl Handled {
    /// Names handlers that the kernel only counts by those that it named before: it names the callback of a
    /// function with one handler, and not when a probe of ours has joined it.
    pub fn name_by(&mut self, before: &Self) {
        for site in &mut self.sites {
            let Some(old) = before.site(&site.function) else { continue };
            let is_ops =
                |handler: &&Handler| handler.kind == HandlerKind::FtraceOps && handler.name != UNNAMED;
            let known: Vec<Handler> = site.handlers.iter().filter(is_ops).cloned().collect();
            let mut spare = old.handlers.iter().filter(is_ops).filter(|handler| !known.contains(handler));
            for handler in &mut site.handlers {
                if handler.kind == HandlerKind::FtraceOps
                    && handler.name == UNNAMED
                    && let Some(named) = spare.next()
                {
                    handler.clone_from(named);
                }
            }
        }
    }
}

/// Merges what the sources said into sites.
#[must_use]
pub(crate) fn merge(sightings: &Sightings) -> Handled {
    let Sightings { fprobe_looks_first, ftrace_validates, .. } = *sightings;
    let mut merger = Merger { fprobe_looks_first, ftrace_validates, ..Merger::default() };
    merger.handled.switches = sightings.switches;
    let none = ProgramSites::default();
    let programs = sightings.programs.as_ref().unwrap_or(&none);
    if let Ok(livepatches) = &sightings.livepatches {
        merger.livepatches(livepatches);
    }
    match &sightings.kprobes {
        Ok(kprobes) => merger.kprobes(kprobes, programs, sightings),
        Err(_) => merger.listed_kprobe_programs(programs),
    }
    merger.trampolines(programs);
    if let Ok(enabled) = &sightings.enabled {
        for function in &enabled.functions {
            merger.enabled(function, programs, sightings);
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
    /// Lines of `enabled_functions` so far, by function.
    lines: HashMap<String, usize>,
    fprobe_looks_first: bool,
    ftrace_validates: bool,
}

pub(in crate::kernel) fn bpf(program: &NamedProgram, reliance: Reliance) -> Handler {
    let NamedProgram { id, name, owner } = program;
    let (name, program) = (name.clone(), Some(*id));
    Handler {
        kind: HandlerKind::Bpf,
        ours: name.starts_with(OUR_PREFIX),
        name,
        event: None,
        program,
        reliance,
        owner: owner.clone(),
    }
}

/// The events that are on, by tracefs or by perf. One that is off has a kprobe that is off, which is no handler.
fn events_that_are_on<'a>(kprobes: &[Kprobe], sightings: &'a Sightings) -> Vec<&'a ProbeEvent> {
    let has_its_own = |event: &ProbeEvent| {
        let mut off = kprobes.iter().filter(|kprobe| !kprobe.is_live());
        off.any(|kprobe| event.is_at(kprobe, sightings.text_start))
    };
    let is_on = |event: &&ProbeEvent| event.owner().is_some() || !has_its_own(event);
    sightings.events.iter().filter(is_on).collect()
}

fn of_kprobe(kprobe: &Kprobe, event: Option<&ProbeEvent>, reliance: Reliance, ours: bool) -> Handler {
    Handler {
        kind: HandlerKind::Kprobe,
        name: format!("{}+{:#x}", kprobe.function, kprobe.offset),
        event: event.map(ProbeEvent::label),
        program: None,
        reliance,
        ours,
        owner: event.and_then(ProbeEvent::owner),
    }
}

fn of_fprobe(event: &ProbeEvent, reliance: Reliance) -> Handler {
    Handler {
        kind: HandlerKind::FtraceOps,
        name: event.label(),
        event: None,
        program: None,
        reliance,
        ours: false,
        owner: event.owner(),
    }
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
                    event: None,
                    program: None,
                    // Its handler runs anywhere since 842c08846420 ("livepatch: Fix stacking of patches with
                    // respect to RCU"); the replacement that it calls is ordinary code.
                    reliance: Reliance::Relies,
                    ours: false,
                    owner: None,
                });
            }
        }
    }

    fn kprobes(&mut self, kprobes: &[Kprobe], programs: &ProgramSites, sightings: &Sightings) {
        let own = &sightings.own_kprobes;
        // What is not armed does not run, whatever runs on its function.
        let switches = self.handled.switches;
        let is_armed = |kprobe: &&Kprobe| {
            let is_called = !(kprobe.is_on_ftrace && switches.ftrace_calls_nobody());
            kprobe.is_live() && switches.kprobes_are_off().is_none() && is_called
        };
        let armed: Vec<&Kprobe> = kprobes.iter().filter(is_armed).collect();
        // Several kprobes at one place have a line each, so an owner accounts for one line only.
        let mut owners: Vec<_> = programs.on_kprobe.iter().map(Some).collect();
        let mut take = |kprobe: &Kprobe| {
            let owner = owners.iter_mut().find(|owner| owner.is_some_and(|owner| owner.is_at(kprobe)));
            owner.and_then(Option::take)
        };
        let owners: Vec<Option<&KprobeProgram>> = armed.iter().map(|kprobe| take(kprobe)).collect();
        let is_placed = |own: &OwnKprobe| {
            let is_it = |owner: &KprobeProgram| owner.program.is_ours() && owner.function == own.function;
            programs.on_kprobe.iter().any(is_it)
        };
        let unplaced: Vec<&OwnKprobe> = own.kprobes.iter().filter(|own| !is_placed(own)).collect();
        let is_own = own_kprobe::lines(&unplaced, &armed, &owners);
        // Kprobes whose owner no interface tells are taken for another instance's only where that instance has as
        // many programs as there are such kprobes.
        let unplaced_ours = programs.unplaced_kprobes.iter().filter(|program| program.is_ours()).count();
        let of_others = unplaced_ours.saturating_sub(unplaced.len() + own.resting);
        let is_listed = |owner: &&KprobeProgram| kprobes.iter().any(|kprobe| owner.is_at(kprobe));
        let of_nobody = armed.len().saturating_sub(programs.on_kprobe.iter().filter(is_listed).count());
        let all_ours = of_nobody.saturating_sub(unplaced.len()) <= of_others;
        let mut events = events_that_are_on(kprobes, sightings);
        for ((kprobe, owner), is_own) in armed.into_iter().zip(owners).zip(is_own) {
            if kprobe.is_on_ftrace {
                self.kprobed_on_ftrace.insert(kprobe.function.clone());
            }
            // kernel/kprobes.c:kprobe_ftrace_handler asks ftrace's recursion guard, which asks RCU. One that was optimised
            // jumps to its handler, and nobody asks.
            let reliance = match (kprobe.is_on_ftrace, kprobe.is_optimized) {
                (true, _) if self.ftrace_validates => Reliance::SkippedByKernel,
                (false, false) => Reliance::EntryCounted,
                _ => Reliance::Relies,
            };
            let handler = match owner {
                Some(owner) => bpf(&owner.program, reliance),
                None if is_own => of_kprobe(kprobe, None, reliance, true),
                None => {
                    let is_it = |event: &&ProbeEvent| event.is_at(kprobe, sightings.text_start);
                    let event = events.iter().position(is_it).map(|index| events.remove(index));
                    of_kprobe(kprobe, event, reliance, all_ours && event.is_none())
                }
            };
            self.site(&kprobe.function, kprobe.module.as_deref()).add(handler);
        }
    }

    /// Without the kernel's list, the kprobes that BPF links tell of.
    fn listed_kprobe_programs(&mut self, programs: &ProgramSites) {
        if self.handled.switches.kprobes_are_off().is_some() {
            return;
        }
        for program in programs.on_kprobe.iter().filter(|program| !program.function.is_empty()) {
            self.site(&program.function, None).add(bpf(&program.program, Reliance::Relies));
        }
    }

    fn trampolines(&mut self, programs: &ProgramSites) {
        if self.handled.switches.ftrace_calls_nobody() {
            return;
        }
        for (function, programs) in &programs.on_function {
            for program in programs {
                self.site(function, None).add(bpf(program, Reliance::Relies));
            }
        }
    }

    /// What is called by the fprobes of a function: programs of kprobe.multi links, and probe events.
    fn fprobes(
        &mut self,
        function: &EnabledFunction,
        programs: &ProgramSites,
        events: &[ProbeEvent],
    ) -> Vec<Handler> {
        let reliance = if self.fprobe_looks_first { Reliance::SkippedByKernel } else { Reliance::Relies };
        let name = function.function.as_str();
        // Functions of one name have a line each, and a program on both is listed twice.
        let before = self.lines.entry(name.to_owned()).or_default();
        let line = std::mem::replace(before, *before + 1);
        let all = programs.on_fprobe.get(name).map(Vec::as_slice).unwrap_or_default();
        let is_of_line = |&(index, program): &(usize, &NamedProgram)| {
            all[..index].iter().filter(|other| other.id == program.id).count() == line
        };
        let of_line = all.iter().enumerate().filter(is_of_line);
        let mut handlers: Vec<_> = of_line.map(|(_, program)| bpf(program, reliance)).collect();
        let on_it = events.iter().filter(|event| line == 0 && event.is_fprobe() && event.symbol == name);
        let (on, off): (Vec<_>, Vec<_>) = on_it.partition(|event| !event.on_in.is_empty());
        handlers.extend(on.into_iter().map(|event| of_fprobe(event, reliance)));
        if handlers.is_empty() && function.callbacks.iter().any(|name| name.starts_with(fprobe::PREFIX)) {
            match (off.as_slice(), programs.unplaced_fprobes.as_slice()) {
                // It is on, and not in tracefs: by perf.
                ([event], _) => handlers.push(of_fprobe(event, reliance)),
                // The kernel does not tell where it is, and there is only this one.
                ([], [only]) => handlers.push(bpf(only, reliance)),
                _ => {}
            }
        }
        handlers
    }

    fn enabled(&mut self, function: &EnabledFunction, programs: &ProgramSites, sightings: &Sightings) {
        let looks_first = self.fprobe_looks_first;
        let is_skipped = |name: &str| looks_first && name.starts_with(fprobe::PREFIX);
        let fprobes = self.fprobes(function, programs, &sightings.events);
        let has_kprobe = self.kprobed_on_ftrace.contains(&function.function);
        let site = self.site(&function.function, function.module.as_deref());
        let mut counted = function.handlers;
        let named = |kind, name: &str, reliance| {
            let name = name.to_owned();
            Handler { kind, name, event: None, program: None, reliance, ours: false, owner: None }
        };
        let has_kind = |site: &Site, kind| site.handlers.iter().chain(&site.ours).any(|h| h.kind == kind);
        let known = |name: &String| match callback(name) {
            Callback::Handler(_) if is_skipped(name) => Callback::Handler(Reliance::SkippedByKernel),
            known => known,
        };
        let callbacks: Vec<_> = function.callbacks.iter().map(|name| (name, known(name))).collect();
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
            match programs.unplaced_tracing.as_slice() {
                // The kernel does not tell whose it is, and there is only this one, or none but ours.
                [only] => site.add(bpf(only, Reliance::Relies)),
                [ours, ..] if programs.unplaced_tracing.iter().all(NamedProgram::is_ours) => {
                    site.add(bpf(ours, Reliance::Relies));
                }
                _ => {
                    let trampoline = function.direct.as_deref().unwrap_or(UNNAMED);
                    site.add(named(HandlerKind::Bpf, trampoline, Reliance::Relies));
                }
            }
        }
        counted = counted.saturating_sub(u32::from(function.has_direct || says(Callback::Trampoline)));
        counted = counted.saturating_sub(u32::from(has_kind(site, HandlerKind::Livepatch)));
        counted = counted.saturating_sub(u32::from(says(Callback::Kprobe) || has_kprobe));

        let has_subops = callbacks.iter().any(|(name, _)| name.ends_with("_entry"));
        for (name, known) in &callbacks {
            if let Callback::Handler(reliance) = *known {
                counted = counted.saturating_sub(1);
                // With function-graph subops, they are the handlers, and what an fprobe calls is one itself.
                let passes_on = (has_subops && name.as_str() == "ftrace_graph_func")
                    || (name.starts_with(fprobe::PREFIX) && !fprobes.is_empty());
                if !passes_on {
                    site.add(named(HandlerKind::FtraceOps, name, reliance));
                }
            }
        }
        if !callbacks.iter().any(|(name, _)| name.starts_with(fprobe::PREFIX)) {
            counted = counted.saturating_sub(u32::try_from(fprobes.len()).unwrap_or(u32::MAX));
        }
        for handler in fprobes {
            site.add(handler);
        }
        for tracer in &sightings.tracers {
            let is_on = tracer.is_on(&function.function);
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
