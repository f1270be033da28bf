//! What the kernel's lists say now of functions that somebody wants to hook, as plain values for
//! [`rcu_watch_core::forecast`], which says what would come of it.
//!
//! [`entry`] finds the functions, [`sitter`] the tasks that are in them. Tasks are looked at twice, and the caller
//! lets time pass in between: one that only passes through holds nothing up.

pub(crate) mod entry;
pub(crate) mod sitter;

use std::cell::LazyCell;
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;

use rcu_watch_core::forecast::{Kernel, Other, Target, Way};
use rcu_watch_core::probe::{Handler, HandlerKind};

use crate::kernel::facts::Facts;
use crate::kernel::outlook::entry::{Place, Wanted, places};
use crate::kernel::outlook::sitter::{Sat, Sought};
use crate::kernel::read::ftrace::EnabledFunction;
use crate::kernel::read::kprobe::{self, Kprobe};
use crate::kernel::read::kprobe_table::{self, Registered};
use crate::kernel::read::livepatch::{self, Livepatch};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::refusal;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::SymbolTable;
use crate::sys::memory::KernelMemory;

/// All that was read.
#[derive(Debug)]
pub(crate) struct Outlook {
    pub kernel: Kernel,
    /// One for each function that was asked about, in order.
    pub targets: Vec<Target>,
    pub places: Vec<Place>,
}

/// Reads it for all functions at once. Kernel memory is asked for only where a kprobe stands in the way, to say whose it
/// is.
#[must_use]
pub(crate) fn read<M: KernelMemory, E: Error>(
    tree: &Tree,
    facts: &Facts,
    asked: &[(Wanted, Way)],
    memory: impl FnOnce() -> Result<M, E>,
) -> Outlook {
    let livepatches = livepatch::read(&tree.path("/sys/kernel/livepatch")).unwrap_or_default();
    let has_livepatching = facts.symbols.as_ref().map_or(true, |symbols| symbols.has("klp_enable_patch"));
    let moving = livepatches.iter().find(|patch| patch.in_transition);
    let kernel = Kernel {
        has_livepatching,
        ftrace_is_off: Switches::read(tree).ftrace_is_off().map(|reason| reason.to_string()),
        direct_excludes_livepatch: facts.fentry_excludes_livepatch,
        in_transition: moving.map(|patch| patch.name.clone()),
    };
    let kprobes = tree.debugfs().ok().and_then(|debugfs| File::open(debugfs.join("kprobes/list")).ok());
    let modules = LazyCell::new(|| modules_of_kprobes(tree, memory).unwrap_or_default());
    let module_of = |kprobe: &Kprobe| modules.get(&kprobe.address).cloned();
    let lists = Lists {
        module_of: &module_of,
        tree,
        facts,
        livepatches,
        enabled: refusal::enabled(tree),
        kprobes: kprobes.and_then(|list| kprobe::read(list).ok()).unwrap_or_default(),
        direct_excludes_livepatch: kernel.direct_excludes_livepatch,
    };
    let wanted: Vec<Wanted> = asked.iter().map(|(wanted, _)| wanted.clone()).collect();
    let places = places(tree, &wanted);
    let targets = asked.iter().zip(&places).map(|((wanted, way), place)| lists.target(wanted, *way, place));
    Outlook { kernel, targets: targets.collect(), places }
}

/// The modules whose handlers the kprobes at each address call.
fn modules_of_kprobes<M: KernelMemory, E: Error>(
    tree: &Tree,
    memory: impl FnOnce() -> Result<M, E>,
) -> Result<HashMap<u64, String>, Reason> {
    let kprobes = kprobe_table::read(tree, memory)?;
    let path = tree.path("/proc/kallsyms");
    let symbols = SymbolTable::load(&path).map_err(|e| Reason::unreadable(&path, &e))?;
    let module = |kprobe: &Registered| {
        let mut modules = kprobe.handlers.iter().filter_map(|&at| symbols.resolve(at)?.module);
        Some((kprobe.address, modules.next()?.to_owned()))
    };
    Ok(kprobes.iter().filter_map(module).collect())
}

impl Outlook {
    /// Looks for tasks in the functions, the first time.
    ///
    /// # Errors
    /// Why stacks cannot be read.
    pub(crate) fn look(&self, tree: &Tree) -> Result<Sat, Reason> {
        sitter::look(tree, &self.sought())
    }

    /// Looks again, and keeps those that have stayed.
    pub(crate) fn look_again(&mut self, tree: &Tree, first: Result<Sat, Reason>) {
        let first = match first {
            Ok(first) => first,
            Err(reason) => {
                self.targets.iter_mut().for_each(|target| target.sitters = Err(reason.to_string()));
                return;
            }
        };
        let still = sitter::look_again(tree, &self.sought(), &first.sitting);
        for (index, target) in self.targets.iter_mut().enumerate() {
            let sits = still.iter().filter(|sitting| sitting.functions.contains(&index));
            let sitters: Vec<_> = sits.map(|sitting| sitting.sitter.clone()).collect();
            target.sitters = if sitters.is_empty() && first.is_sample {
                Err("there are too many tasks to look at all of them".to_owned())
            } else {
                Ok(sitters)
            };
        }
    }

    fn sought(&self) -> Vec<Sought<'_>> {
        self.places.iter().map(|place| Sought { names: &place.names, object: &place.object }).collect()
    }
}

/// The kernel's lists, read once.
struct Lists<'a> {
    tree: &'a Tree,
    facts: &'a Facts,
    livepatches: Vec<Livepatch>,
    enabled: Vec<EnabledFunction>,
    kprobes: Vec<Kprobe>,
    /// The module that a kprobe is of, where it is a module's own.
    module_of: &'a dyn Fn(&Kprobe) -> Option<String>,
    direct_excludes_livepatch: bool,
}

impl Lists<'_> {
    fn target(&self, wanted: &Wanted, way: Way, place: &Place) -> Target {
        let module = Some(place.object.as_str()).filter(|&object| object != "vmlinux");
        let is_it = |function: &str, of: Option<&str>| {
            of == module && place.names.iter().any(|name| name == function)
        };
        let livepatches = self.livepatches_of(wanted, place);
        let on = self.enabled.iter().find(|on| is_it(&on.function, on.module.as_deref()));
        let here: Vec<&Kprobe> = self
            .kprobes
            .iter()
            .filter(|probe| probe.is_live() && is_it(&probe.function, probe.module.as_deref()))
            .collect();
        let direct = on.filter(|on| on.has_direct);
        let may_divert = |on: &&EnabledFunction| {
            let is_direct = on.has_direct && self.direct_excludes_livepatch;
            on.has_ipmodify && !is_direct && livepatches.is_empty() && !refusal::is_livepatch(on)
        };
        let is_loaded = || self.tree.path("/sys/module").join(&place.object).join("initstate").exists();
        Target {
            function: wanted.function.clone(),
            object: place.object.clone(),
            way,
            is_loaded: module.is_none() || place.namesakes.is_some_and(|count| count > 0) || is_loaded(),
            namesakes: place.namesakes,
            diverts: on.filter(may_divert).map(|on| Other {
                what: refusal::holder(&self.kprobes, on, self.module_of)
                    .unwrap_or_else(|| "some handler".to_owned()),
                handlers: self.handlers(place, |handler| handler.kind == HandlerKind::Kprobe),
            }),
            direct: direct.map(|on| Other {
                what: on.direct.clone().unwrap_or_else(|| "a trampoline".to_owned()),
                handlers: self.handlers(place, |handler| handler.kind == HandlerKind::Bpf),
            }),
            direct_is_rigid: direct
                .and_then(|on| on.direct.as_deref())
                .is_some_and(|name| !name.starts_with("bpf_trampoline_")),
            inside: self.inside(place, &here),
            livepatches,
            sitters: Ok(Vec::new()),
        }
    }

    fn livepatches_of(&self, wanted: &Wanted, place: &Place) -> Vec<String> {
        let is_it = |patch: &&Livepatch| {
            (patch.enabled || patch.in_transition)
                && patch.functions.iter().any(|f| {
                    f.function == wanted.function
                        && f.object == place.object
                        && u64::from(f.sympos.max(1)) == wanted.sympos.max(1)
                })
        };
        self.livepatches.iter().filter(is_it).map(|patch| patch.name.clone()).collect()
    }

    /// Probes behind the entry: the body that they are in would not run any more.
    fn inside(&self, place: &Place, here: &[&Kprobe]) -> Option<Other> {
        let inside = here.iter().filter(|probe| probe.offset > 0 && !probe.is_on_ftrace);
        let mut at: Vec<String> =
            inside.map(|probe| format!("{}+{:#x}", probe.function, probe.offset)).collect();
        at.dedup();
        let is_one = |handler: &Handler| handler.kind == HandlerKind::Kprobe && at.contains(&handler.name);
        let handlers = self.handlers(place, is_one);
        let what = format!("a kprobe at {}", at.join(", "));
        (!at.is_empty()).then_some(Other { what, handlers })
    }

    fn handlers(&self, place: &Place, is_one: impl Fn(&Handler) -> bool) -> Vec<Handler> {
        let sites = place.names.iter().filter_map(|name| self.facts.handled.site(name));
        sites.flat_map(|site| &site.handlers).filter(|handler| is_one(handler)).cloned().collect()
    }
}
