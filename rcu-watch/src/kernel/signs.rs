//! Puts together what the core judges dead handlers by: who is where, what is switched off, what was replaced.
//!
//! Everything is read from the kernel's own lists, as attribution reads them, and nothing is judged here. To read all
//! of it takes some 100 ms of a CPU, because the kernel walks all of its functions for some of the lists: callers ask
//! [`fingerprint`] first, which takes one.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::ops::ControlFlow;

use rcu_watch_core::condition::dead::{Ftrace, Listed, Off, Patched, Signs, Site};
use rcu_watch_core::model::kernel::TextRange;
use rcu_watch_core::probe::{Handler, HandlerKind, Owner, Reliance};
use rcu_watch_core::units::Address;

use crate::kernel::facts::ask::Ask;
use crate::kernel::facts::attribution::{self, Handled, bpf, merge};
use crate::kernel::facts::sightings::Sightings;
use crate::kernel::read::event::{self, ProbeEvent};
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::livepatch::{self, Livepatch, PatchedFunction};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::program::ProgramSites;
use crate::kernel::read::site;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::tracer::{self, SetUpBy};

/// What a tracer that is restricted to no function is on.
const EVERY_FUNCTION: &str = "every function";

/// Between the start of a function and the code that a livepatch replaces: on x86 nothing that a kprobe could be on but
/// the ftrace site itself, on arm64 `bti c` and the two instructions of the site.
const ENTRY_BYTES: u64 = if cfg!(target_arch = "x86_64") { 1 } else { 12 };

/// What was read, and what could not be.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) signs: Signs,
    /// Lists that this process cannot read.
    pub(crate) unread: Vec<Reason>,
}

/// Reads all that tells dead handlers.
#[must_use]
pub(crate) fn read(tree: &Tree, kernel: &impl Ask) -> Read {
    let livepatches = livepatch::read(&tree.path("/sys/kernel/livepatch")).unwrap_or_default();
    let patched: BTreeSet<&str> =
        livepatches.iter().flat_map(|patch| &patch.functions).map(|f| f.function.as_str()).collect();
    let sightings = Sightings::read(tree, kernel, |function| patched.contains(function));
    let mut lists = Lists::default();
    if let Ok(tracefs) = tree.tracefs() {
        lists.events = event::read(&tracefs).unwrap_or_default();
        let is_off =
            |place: &std::path::Path| first_line(&place.join("tracing_on")).is_ok_and(|on| on == "0");
        let instances = tracer::instances(&tracefs).into_iter();
        lists.silent = instances.filter(|(_, place)| is_off(place)).map(|(name, _)| name).collect();
    }
    let wanted = wanted(&sightings);
    if wanted.len() > 1 || !lists.events.is_empty() {
        let kallsyms = tree.path("/proc/kallsyms");
        let found =
            File::open(&kallsyms).and_then(|file| FoundSymbols::read(file, |name| wanted.contains(name)));
        lists.symbols = found.unwrap_or_default();
        let records = tree.tracefs().ok().and_then(|tracefs| site::records(&tracefs, &wanted).ok().flatten());
        lists.records = records.unwrap_or_default();
    }
    let objects = livepatches.iter().flat_map(|patch| &patch.functions).map(|function| &function.object);
    let is_loaded = |object: &&String| tree.path(&format!("/sys/module/{object}")).exists();
    lists.loaded = objects.filter(is_loaded).cloned().collect();
    let unread = [
        sightings.livepatches.as_ref().err(),
        sightings.enabled.as_ref().err(),
        sightings.kprobes.as_ref().err(),
        sightings.programs.as_ref().err(),
    ];
    Read { signs: of(&sightings, &lists), unread: unread.into_iter().flatten().cloned().collect() }
}

/// Changes when what [`read`] reads has changed, as far as that is cheap to see: switches, livepatches, kprobes, BPF
/// programs, modules.
#[must_use]
pub(crate) fn fingerprint(tree: &Tree, kernel: &impl Ask) -> u64 {
    let mut hasher = DefaultHasher::new();
    Switches::read(tree).hash(&mut hasher);
    kernel.program_ids().hash(&mut hasher);
    for patch in livepatch::read(&tree.path("/sys/kernel/livepatch")).unwrap_or_default() {
        (patch.name, patch.enabled, patch.in_transition, patch.inode).hash(&mut hasher);
    }
    let mut hash_lines = |path: std::path::PathBuf, is_whole: bool| {
        // A list that fails half way reads differently, which is right.
        let _ = each_line_of(&path, |line| {
            // Behind a module's name are numbers that change when nothing has come.
            let end = if is_whole { line.len() } else { line.find(' ').unwrap_or(line.len()) };
            line[..end].hash(&mut hasher);
            ControlFlow::Continue(())
        });
    };
    if let Ok(debugfs) = tree.debugfs() {
        hash_lines(debugfs.join("kprobes/list"), true);
    }
    if let Ok(tracefs) = tree.tracefs() {
        hash_lines(tracefs.join("current_tracer"), true);
    }
    hash_lines(tree.path("/proc/modules"), false);
    hasher.finish()
}

/// What is looked up of the functions that matter.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Lists {
    pub(in crate::kernel) symbols: FoundSymbols,
    pub(in crate::kernel) records: BTreeMap<String, Vec<Address>>,
    /// Modules that livepatches are for and that are loaded.
    pub(in crate::kernel) loaded: BTreeSet<String>,
    /// Probe events, by which tracefs names its kprobes.
    pub(in crate::kernel) events: Vec<ProbeEvent>,
    /// Instances of tracefs that are off; `None` is the top one.
    pub(in crate::kernel) silent: BTreeSet<Option<String>>,
}

/// Functions whose place has to be known.
fn wanted(sightings: &Sightings) -> BTreeSet<&str> {
    let enabled = sightings.enabled.iter().flat_map(|enabled| &enabled.functions);
    let livepatches = sightings.livepatches.iter().flatten().filter(|patch| patch.enabled);
    let patched = livepatches.flat_map(|patch| &patch.functions).map(|function| function.function.as_str());
    enabled.map(|function| function.function.as_str()).chain(patched).chain(["_text"]).collect()
}

pub(in crate::kernel) fn of(sightings: &Sightings, lists: &Lists) -> Signs {
    let switches = sightings.switches;
    // Also those that are switched off: it is for the core to say that they are.
    let all = merge(&Sightings { switches: Switches::default(), ..sightings.clone() });
    let none = ProgramSites::default();
    let programs = sightings.programs.as_ref().unwrap_or(&none);
    let mut handlers = by_ftrace(&all, programs);
    handlers.extend(kprobes(sightings.kprobes.as_deref().unwrap_or_default(), programs, &all, lists));
    let sites = sites(&handlers, lists);
    let ftrace_is_off = switches.ftrace_is_off().is_some();
    if ftrace_is_off {
        handlers.extend(fprobes(programs));
    }
    handlers.extend(tracers(sightings, ftrace_is_off));
    let livepatches = sightings.livepatches.iter().flatten().filter(|patch| patch.enabled);
    Signs {
        ftrace: match (switches.ftrace_is_off(), switches.ftrace_calls_nobody()) {
            (None, _) => Ftrace::On,
            (Some(_), true) => Ftrace::Off,
            (Some(_), false) => Ftrace::ShutDown,
        },
        kprobes_are_off: switches.kprobes_are_off().is_some(),
        handlers,
        patched: livepatches.flat_map(|patch| patched(patch, sightings, lists)).collect(),
        sites,
    }
}

/// Livepatches, trampolines, tracers and other callbacks.
fn by_ftrace(all: &Handled, programs: &ProgramSites) -> Vec<Listed> {
    let is_on_kprobe = |id: u32| {
        let mut kprobes = programs.on_kprobe.iter().map(|on| &on.program).chain(&programs.unplaced_kprobes);
        kprobes.any(|program| program.id == id)
    };
    let is_by_ftrace = |handler: &&Handler| match handler.kind {
        HandlerKind::Kprobe => false,
        HandlerKind::Bpf => !handler.program.is_some_and(is_on_kprobe),
        HandlerKind::Livepatch | HandlerKind::FtraceOps => true,
    };
    let of_site = |site: &attribution::Site| {
        let handlers = site.handlers.iter().chain(&site.ours).filter(is_by_ftrace);
        handlers.map(|handler| carried(&site.function, handler.clone())).collect::<Vec<_>>()
    };
    all.sites.iter().flat_map(of_site).collect()
}

fn carried(function: &str, handler: Handler) -> Listed {
    Listed {
        function: function.to_owned(),
        handler,
        is_kprobe: false,
        by_ftrace: true,
        address: None,
        off: None,
    }
}

/// Every kprobe of the kernel's list, also those that are off and gone.
fn kprobes(kprobes: &[Kprobe], programs: &ProgramSites, all: &Handled, lists: &Lists) -> Vec<Listed> {
    let mut owners: Vec<_> = programs.on_kprobe.iter().map(Some).collect();
    let mut events: Vec<_> = lists.events.iter().map(Some).collect();
    let start = lists.symbols.address("_text");
    let listed = kprobes.iter().map(|kprobe| {
        // Several kprobes at one place have a line each, so an owner accounts for one line only.
        let owner = owners.iter_mut().find(|owner| owner.is_some_and(|owner| owner.is_at(kprobe)));
        let owner = owner.and_then(Option::take);
        let event = events.iter_mut().find(|event| event.is_some_and(|event| event.is_at(kprobe, start)));
        let event = event.filter(|_| owner.is_none()).and_then(Option::take);
        let handler = match (owner, event) {
            (Some(owner), _) => bpf(&owner.program, Reliance::Relies),
            (None, Some(event)) => of_event(event),
            (None, None) => {
                let name = format!("{}+{:#x}", kprobe.function, kprobe.offset);
                let is_it = |handler: &&Handler| handler.kind == HandlerKind::Kprobe && handler.name == name;
                let known = all.site(&kprobe.function).into_iter();
                let mut known = known.flat_map(|site| site.handlers.iter().chain(&site.ours));
                known.find(is_it).cloned().unwrap_or_else(|| of_nobody(HandlerKind::Kprobe, &name))
            }
        };
        let silent = event.and_then(|event| {
            let is_off = event.on_in.iter().all(|instance| lists.silent.contains(instance));
            event.on_in.first().filter(|_| is_off).map(|instance| Off::Instance(instance.clone()))
        });
        let off = match (kprobe.is_gone, kprobe.is_disabled) {
            (true, _) => Some(Off::Gone),
            (false, true) => Some(Off::Disabled),
            (false, false) => silent,
        };
        Listed {
            function: kprobe.function.clone(),
            handler,
            is_kprobe: true,
            by_ftrace: kprobe.is_on_ftrace,
            address: (kprobe.address != 0).then_some(Address(kprobe.address)),
            off,
        }
    });
    listed.collect()
}

fn of_event(event: &ProbeEvent) -> Handler {
    Handler { owner: event.owner(), ..of_nobody(HandlerKind::Kprobe, &event.label()) }
}

fn of_nobody(kind: HandlerKind, name: &str) -> Handler {
    let name = name.to_owned();
    Handler { kind, name, event: None, program: None, reliance: Reliance::Relies, ours: false, owner: None }
}

/// What `enabled_functions` does not list while ftrace is off and links do: kprobe.multi.
fn fprobes(programs: &ProgramSites) -> impl Iterator<Item = Listed> {
    programs.on_fprobe.iter().flat_map(|(function, programs)| {
        programs.iter().map(|program| carried(function, bpf(program, Reliance::Relies)))
    })
}

/// Tracers that are on and do not run: their instance is off, or ftrace is, and then its list does not have them.
fn tracers(sightings: &Sightings, ftrace_is_off: bool) -> Vec<Listed> {
    let stopped = sightings.tracers.iter().filter(|tracer| ftrace_is_off || !tracer.records);
    let listed = stopped.flat_map(|tracer| {
        let (owner, off) = match &tracer.set_up_by {
            SetUpBy::Instance(name) => {
                let off = (!tracer.records).then(|| Off::Instance(name.clone()));
                (Owner::Instance { name: name.clone() }, off)
            }
            SetUpBy::Sysctl(name) => (Owner::Setting { name: (*name).to_owned() }, None),
        };
        let reliance = Reliance::DoesNotRely;
        let handler = of_nobody(HandlerKind::FtraceOps, tracer.callback);
        let handler = Handler { reliance, owner: Some(owner), ..handler };
        let every = || vec![EVERY_FUNCTION.to_owned()];
        let functions = tracer.functions.clone().unwrap_or_else(every);
        functions
            .into_iter()
            .map(move |function| Listed { off: off.clone(), ..carried(&function, handler.clone()) })
    });
    listed.collect()
}

/// Where the functions that ftrace carries handlers of start, and where ftrace calls them.
fn sites(handlers: &[Listed], lists: &Lists) -> Vec<Site> {
    let mut by_function: BTreeMap<&str, Vec<Handler>> = BTreeMap::new();
    for listed in handlers.iter().filter(|listed| listed.by_ftrace && listed.off.is_none()) {
        by_function.entry(&listed.function).or_default().push(listed.handler.clone());
    }
    let sites = by_function.into_iter().filter_map(|(function, handlers)| {
        // Of several functions of one name nothing tells which is meant.
        lists.symbols.symbols.get(function).filter(|symbol| symbol.functions == 1)?;
        let entry = Address(lists.symbols.address(function)?);
        let records = lists.records.get(function)?.clone();
        Some(Site { function: function.to_owned(), entry, records, handlers })
    });
    sites.collect()
}

fn patched<'a>(
    patch: &'a Livepatch,
    sightings: &'a Sightings,
    lists: &'a Lists,
) -> impl Iterator<Item = Patched> + 'a {
    let is_loaded = |object: &str| object == "vmlinux" || lists.loaded.contains(object);
    let functions = patch.functions.iter().filter(move |function| is_loaded(&function.object));
    functions.map(|function| {
        let old = old_body(function, &lists.symbols);
        Patched {
            patch: patch.name.clone(),
            function: function.function.clone(),
            is_settled: !patch.in_transition,
            body: old.and_then(|(start, end)| {
                Some(TextRange { start: Address(start + ENTRY_BYTES), end: Address(end?) })
            }),
            is_hooked: is_hooked(&function.function, old.map(|(start, _)| start), sightings, lists),
        }
    })
}

/// Where the function that is replaced starts and ends, where that is certain.
fn old_body(function: &PatchedFunction, symbols: &FoundSymbols) -> Option<(u64, Option<u64>)> {
    let symbol = symbols.symbols.get(&function.function)?;
    let object = symbol.module.as_deref().unwrap_or("vmlinux");
    let is_first = function.sympos == 1 || (function.sympos == 0 && symbol.functions == 1);
    let address = symbols.address(&function.function)?;
    (object == function.object && is_first).then_some((address, symbol.end))
}

/// Whether ftrace has a handler on the function, under this name or another one of the same address.
fn is_hooked(name: &str, start: Option<u64>, sightings: &Sightings, lists: &Lists) -> Option<bool> {
    let enabled = sightings.enabled.as_ref().ok()?;
    let is_there = enabled.functions.iter().any(|function| {
        function.function == name || (start.is_some() && lists.symbols.address(&function.function) == start)
    });
    match (is_there, start) {
        (true, _) => Some(true),
        (false, Some(_)) if enabled.more == 0 => Some(false),
        (false, _) => None,
    }
}
