//! What this kernel is and allows, asked once and kept as plain data.
//!
//! Everything that plans and prints works on [`Facts`] alone, so a captured kernel is a test. A source that
//! cannot be read becomes a reason with its remedy; nothing here fails as a whole.

pub(crate) mod ask;
pub(crate) mod attribution;
pub(crate) mod feature;
pub(crate) mod layout;
pub(crate) mod own_kprobe;
mod question;
pub(crate) mod sightings;
mod source;
mod validation;
mod watchpoint;

use std::collections::{BTreeMap, BTreeSet};

use rcu_watch_core::units::CpuId;

use crate::kernel::facts::ask::Ask;
use crate::kernel::facts::attribution::{Handled, merge};
use crate::kernel::facts::feature::Features;
use crate::kernel::facts::layout::{Layout, LayoutError};
use crate::kernel::facts::sightings::Sightings;
use crate::kernel::facts::source::Sources;
use crate::kernel::read::btf::FoundTypes;
use crate::kernel::read::line::first_line;
use crate::kernel::read::livepatch::Livepatch;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::privilege::Privileges;
use crate::kernel::read::support::{Listing, Reason, Support};
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::{cpu, module, program};

pub(crate) use question::Questions;
pub(crate) use validation::FtraceValidation;

/// What was found of one kernel.
#[derive(Clone, Debug)]
pub struct Facts {
    pub host: String,
    /// `uname -r`: printed, never compared.
    pub release: String,
    pub machine: String,
    pub boot_id: String,
    pub online: Vec<CpuId>,
    pub nohz_full: Vec<CpuId>,
    /// `isolcpus=`: kept free of anything that nobody asked for there.
    pub isolated: Vec<CpuId>,
    pub privileges: Privileges,
    /// The symbols that matter, of kallsyms.
    pub symbols: Result<FoundSymbols, Reason>,
    pub btf: Result<FoundTypes, Reason>,
    pub features: Features,
    /// Functions that ftrace can hook.
    pub traceable: Listing,
    /// Functions that no kprobe may sit on.
    pub kprobe_blacklist: Listing,
    pub tracepoints: BTreeMap<String, Support>,
    pub layout: Result<Layout, LayoutError>,
    /// On this kernel a function can have fentry or a livepatch, and the one that comes second is refused.
    pub fentry_excludes_livepatch: bool,
    /// Whether ftrace refuses handlers where RCU is off, with a warning.
    pub ftrace_validates_rcu: FtraceValidation,
    /// Where ftrace's site of a function with handlers is, where ftrace refuses them and the kernel says.
    pub ftrace_sites: BTreeMap<String, u64>,
    /// Which functions have handlers, and whose.
    pub handled: Handled,
    /// The livepatches that `handled` knows of.
    pub(crate) livepatches: Vec<Livepatch>,
    /// The modules that were loaded before the lists were read, as a number.
    pub(crate) modules: u64,
    /// Pids of other instances of rcu-watch.
    pub other_instances: Vec<u32>,
    /// What was asked for: the lists are read again when a function gets handlers.
    questions: Questions,
}

impl Facts {
    /// Reads the files of `tree`, and asks `kernel` the rest.
    #[must_use]
    pub fn read(tree: &Tree, kernel: &impl Ask, questions: Questions) -> Self {
        let privileges = Privileges::read(tree);
        let modules = module::fingerprint(tree);
        let sightings = Sightings::read(tree, kernel, questions.keeps_handlers);
        let handled = merge(&sightings);
        let sources = Sources::read(tree, &questions, &handled, &BTreeSet::new(), &privileges);
        let tracefs = tree.tracefs();
        let line = |path| first_line(&tree.path(path)).unwrap_or_default();
        let none = FoundSymbols::default();
        let release = line("/proc/sys/kernel/osrelease");
        let Sources { symbols, btf, traceable, kprobe_blacklist } = sources;
        let ftrace_validates_rcu = validation::read(tree, &release, &traceable);
        let sightings = sightings.with_validation(ftrace_validates_rcu == FtraceValidation::Yes);
        let handled = if sightings.ftrace_validates { merge(&sightings) } else { handled };
        Self {
            features: kernel.features(tree, &privileges, symbols.as_ref().unwrap_or(&none), &btf),
            host: line("/proc/sys/kernel/hostname"),
            machine: std::env::consts::ARCH.to_owned(),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            online: cpu::of_line(&line("/sys/devices/system/cpu/online")),
            nohz_full: cpu::of_line(&line("/sys/devices/system/cpu/nohz_full")),
            isolated: cpu::of_line(&line("/sys/devices/system/cpu/isolated")),
            tracepoints: questions
                .tracepoints
                .iter()
                .map(|&name| {
                    (name.to_owned(), source::tracepoint(name, &symbols, &btf, tracefs.as_deref().ok()))
                })
                .collect(),
            layout: match (&btf, &symbols) {
                (Err(reason), _) => Err(LayoutError::NoTypes(reason.clone())),
                (_, Err(reason)) => Err(LayoutError::NoSymbols(reason.clone())),
                (Ok(btf), Ok(symbols)) => layout::find(btf, symbols),
            },
            // BPF_TRAMP_F_SHARE_IPMODIFY. Added in: 00963a2e75a8 ("bpf: Support bpf_trampoline on functions
            // with IPMODIFY (e.g. livepatch)").
            fentry_excludes_livepatch: symbols.as_ref().map_or(true, |symbols| {
                symbols.has("klp_enable_patch") && !symbols.has("bpf_tramp_ftrace_ops_func")
            }),
            ftrace_sites: source::ftrace_sites(tree, &ftrace_validates_rcu, &handled),
            ftrace_validates_rcu,
            other_instances: program::other_instances(tree),
            release,
            privileges,
            symbols,
            btf,
            traceable,
            kprobe_blacklist,
            handled,
            livepatches: sightings.livepatches.unwrap_or_default(),
            modules,
            questions,
        }
    }

    /// Takes in who has handlers now, and learns of functions that were not asked for before.
    pub fn set_handled(&mut self, tree: &Tree, handled: Handled) {
        let is_known = |function: &str| {
            self.handled.site(function).is_some() || self.questions.names.contains(&function)
        };
        if handled.sites.iter().all(|site| is_known(&site.function)) {
            self.handled = handled;
        } else {
            self.renew(tree, handled);
        }
    }

    /// The same where the kernel's lists may have changed, as they do with each module that comes or goes.
    pub(crate) fn renew(&mut self, tree: &Tree, handled: Handled) {
        self.set_sources(Sources::read(tree, &self.questions, &handled, &BTreeSet::new(), &self.privileges));
        self.ftrace_sites = source::ftrace_sites(tree, &self.ftrace_validates_rcu, &handled);
        self.handled = handled;
    }

    /// Learns of functions that are on no list of ours.
    pub fn learn(&mut self, tree: &Tree, functions: &BTreeSet<String>) {
        self.set_sources(Sources::read(tree, &self.questions, &self.handled, functions, &self.privileges));
    }

    fn set_sources(&mut self, sources: Sources) {
        let Sources { symbols, btf, traceable, kprobe_blacklist } = sources;
        self.symbols = symbols;
        self.btf = btf;
        self.traceable = traceable;
        self.kprobe_blacklist = kprobe_blacklist;
    }
}
