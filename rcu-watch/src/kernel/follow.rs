//! Notices livepatches, tracers, kprobes and BPF programs as they come and go, and says what to attach.
//!
//! The kernel has no event for a handler that comes or goes, so sysfs, `enabled_functions` and the kprobes list are
//! read again and again. Attributing handlers takes all of the kernel's lists, so it is done only when one of the
//! three or the modules have changed. Even `enabled_functions` is dear, because the kernel walks all of its functions to print it;
//! most handlers show in files that are cheap to read, which [`Follower::sees_a_sign`] looks at. A livepatch is on its
//! functions before the module that they are in is loaded: such a function comes after its handler.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::probe::Handler;

use crate::kernel::facts::ask::Ask;
use crate::kernel::facts::attribution::{Handled, Site, merge};
use crate::kernel::facts::own_kprobe::OwnKprobes;
use crate::kernel::facts::sightings::Sightings;
use crate::kernel::facts::{Facts, FtraceValidation};
use crate::kernel::plan::Request;
use crate::kernel::plan::points;
use crate::kernel::plan::select::select;
use crate::kernel::plan::{AttachPlan, PlannedProbe, PointChoice};
use crate::kernel::read::line::each_line;
use crate::kernel::read::livepatch::{self, Livepatch};
use crate::kernel::read::module;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::switch::Switches;

const LEFT: &str = "the last handler left";
const MODULE_LEFT: &str = "the function's module was unloaded";

/// What a site needs now.
#[derive(Clone, Debug)]
pub(crate) enum SiteChange {
    /// Handlers are on a function that had none.
    Appeared { site: Site, row: PointChoice, planned: Option<PlannedProbe> },
    /// Others than before are on it.
    Changed { site: Site },
    /// The last of them has left, or the function has.
    Left { function: String, because: &'static str },
}

impl SiteChange {
    /// Leaves our own probe where it is: to take a trampoline away while ftrace is switched off leaves marks on its
    /// site, at which ftrace shuts itself down when it is on again (kernel/trace/ftrace.c:ftrace_shutdown).
    fn stay(&mut self) {
        if let Self::Left { function, .. } = self {
            *self = Self::Changed { site: Site { function: std::mem::take(function), ..Site::default() } };
        }
    }
}

/// Follows the handlers of one run.
#[derive(Debug)]
pub(crate) struct Follower<K> {
    tree: Tree,
    kernel: K,
    facts: Facts,
    request: Request,
    livepatches: Vec<Livepatch>,
    lists: u64,
    moves: u64,
    modules: u64,
    signs: u64,
}

impl<K: Ask> Follower<K> {
    /// Starts from what was found at the start of the run.
    #[must_use]
    pub(crate) fn new(tree: Tree, kernel: K, facts: Facts, request: Request) -> Self {
        let modules = facts.modules;
        Self { tree, kernel, facts, request, livepatches: Vec::new(), lists: 0, moves: 0, modules, signs: 0 }
    }

    /// Looks at everything; `None` where it reads as before. The first time, and after each of our own attachments, this attributes anew and
    /// mostly finds nothing changed. `ours` says what kprobes this process has; it is asked again after
    /// the kernel was, and where it changed meanwhile the kernel is asked anew.
    pub(crate) fn look_around(&mut self, ours: impl Fn() -> OwnKprobes) -> Option<Vec<SiteChange>> {
        let livepatches = livepatch::read(&self.tree.path("/sys/kernel/livepatch")).unwrap_or_default();
        // Before the lists: where a probe of ours has left and somebody else's came, they read as before.
        let moves = ours().moves;
        let lists = self.fingerprint_of_lists();
        let modules = module::fingerprint(&self.tree);
        let are_same_modules = modules == self.modules;
        if are_same_modules && (&livepatches, lists, moves) == (&self.livepatches, self.lists, self.moves) {
            return None;
        }
        (self.livepatches, self.lists, self.moves, self.modules) = (livepatches, lists, moves, modules);
        Some(self.attribute(ours, are_same_modules))
    }

    /// Whether a program, a kprobe, a tracer or a module has come or gone since this was last asked. That nothing
    /// has proves nothing: an event that was there can be switched on, a program that was loaded be attached.
    pub(crate) fn sees_a_sign(&mut self) -> bool {
        let mut hasher = DefaultHasher::new();
        self.kernel.program_ids().hash(&mut hasher);
        let tracefs = self.tree.tracefs();
        let in_tracefs = |file: &str| tracefs.as_ref().ok().map(|tracefs| tracefs.join(file));
        Switches::read(&self.tree).hash(&mut hasher);
        let lists = [
            self.tree.debugfs().ok().map(|debugfs| debugfs.join("kprobes/list")),
            in_tracefs("current_tracer"),
            in_tracefs("dynamic_events"),
            Some(self.tree.path("/proc/sys/kernel/stack_tracer_enabled")),
        ];
        for path in lists.iter().flatten() {
            hash_lines(path, &mut hasher, |line| line);
        }
        module::fingerprint(&self.tree).hash(&mut hasher);
        let signs = hasher.finish();
        std::mem::replace(&mut self.signs, signs) != signs
    }

    fn fingerprint_of_lists(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Switches::read(&self.tree).hash(&mut hasher);
        let tracefs = self.tree.tracefs().map(|tracefs| tracefs.join("enabled_functions"));
        let debugfs = self.tree.debugfs().map(|debugfs| debugfs.join("kprobes/list"));
        for path in [tracefs, debugfs].into_iter().flatten() {
            hash_lines(&path, &mut hasher, |line| line);
        }
        hasher.finish()
    }

    fn attribute(&mut self, ours: impl Fn() -> OwnKprobes, are_same_modules: bool) -> Vec<SiteChange> {
        let mut own = ours();
        let mut now = loop {
            let sightings = Sightings::read(&self.tree, &self.kernel, points::runs_in_eqs);
            let validates = self.facts.ftrace_validates_rcu == FtraceValidation::Yes;
            let now = merge(&sightings.with_own_kprobes(&own).with_validation(validates));
            // A kprobe that we put there meanwhile would pass for somebody else's.
            let since = ours();
            if since == own {
                break now;
            }
            own = since;
        };
        now.name_by(&self.facts.handled);
        let before = self.facts.handled.clone();
        let places = places(&self.facts, &before);
        if are_same_modules {
            self.facts.set_handled(&self.tree, now);
        } else {
            self.facts.renew(&self.tree, now);
        }
        changes(&before, &places, &self.facts, &self.request)
    }
}

/// Where the function of each site is; `None`: nowhere, since its module is not loaded.
type Places = BTreeMap<String, Option<u64>>;

fn places(facts: &Facts, handled: &Handled) -> Places {
    let functions = handled.sites.iter().map(|site| &site.function);
    functions.filter_map(|function| Some((function.clone(), place(facts, function)?))).collect()
}

/// `None` where nobody can say.
fn place(facts: &Facts, function: &str) -> Option<Option<u64>> {
    let symbols = facts.symbols.as_ref().ok()?;
    Some(symbols.symbols.get(function).map(|symbol| symbol.address))
}

fn hash_lines(path: &Path, hasher: &mut DefaultHasher, part: impl Fn(&str) -> &str) {
    if let Ok(file) = File::open(path) {
        // A list that fails half way reads differently, which is right.
        let _ = each_line(file, |line| {
            part(line).hash(hasher);
            ControlFlow::Continue(())
        });
    }
}

/// What became of each site.
fn changes(before: &Handled, places: &Places, facts: &Facts, request: &Request) -> Vec<SiteChange> {
    let had = |function: &str| before.site(function).map_or(&[][..], |site| site.handlers.as_slice());
    let mut changes = Vec::new();
    let mut plan = None;
    for site in &facts.handled.sites {
        let before = had(&site.function);
        let left = |because| SiteChange::Left { function: site.function.clone(), because };
        if site.handlers.is_empty() {
            changes.extend((!before.is_empty()).then(|| left(LEFT)));
            continue;
        }
        let place = place(facts, &site.function).flatten();
        let was = if before.is_empty() { None } else { places.get(&site.function).copied() };
        match was {
            // Its handlers wait for its module.
            Some(Some(_)) if place.is_none() => changes.push(left(MODULE_LEFT)),
            Some(Some(was)) if place != Some(was) => {
                changes.push(left(MODULE_LEFT));
                changes.extend(appeared(site, facts, request, &mut plan));
            }
            Some(None) if place.is_some() => changes.extend(appeared(site, facts, request, &mut plan)),
            _ if same(before, &site.handlers) => {}
            _ if before.is_empty() => changes.extend(appeared(site, facts, request, &mut plan)),
            _ => changes.push(SiteChange::Changed { site: site.clone() }),
        }
    }
    for site in &before.sites {
        if !site.handlers.is_empty() && facts.handled.site(&site.function).is_none() {
            changes.push(SiteChange::Left { function: site.function.clone(), because: LEFT });
        }
    }
    if facts.handled.switches.ftrace_is_off().is_some() {
        changes.iter_mut().for_each(SiteChange::stay);
    }
    changes
}

/// `None` where it is left out by `--function`, or is one tracer too many.
fn appeared(
    site: &Site,
    facts: &Facts,
    request: &Request,
    plan: &mut Option<AttachPlan>,
) -> Option<SiteChange> {
    let plan = plan.get_or_insert_with(|| select(facts, request));
    let is_site =
        |row: &&PointChoice| row.site.as_deref() == Some(&site.function) && points::is_of_handlers(row.point);
    let row = plan.rows.iter().find(is_site)?.clone();
    let planned = row.chosen.map(|index| plan.probes[index].clone());
    Some(SiteChange::Appeared { site: site.clone(), row, planned })
}

/// The order in which sources name handlers means nothing, and one that somebody else holds too is the same.
fn same(before: &[Handler], now: &[Handler]) -> bool {
    let of_nobody = |handler: &Handler| Handler { owner: None, ..handler.clone() };
    let before: Vec<Handler> = before.iter().map(of_nobody).collect();
    before.len() == now.len() && now.iter().all(|handler| before.contains(&of_nobody(handler)))
}
