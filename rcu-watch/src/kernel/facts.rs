//! What this kernel is and allows, asked once and kept as plain data.
//!
//! Everything that plans and prints works on [`Facts`] alone, so a captured kernel is a test. A source that
//! cannot be read becomes a reason with its remedy; nothing here fails as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::units::CpuId;

use crate::kernel::attribution::{Handled, Sightings, merge};
use crate::kernel::bpf_call;
use crate::kernel::btf::{self, Found, Query};
use crate::kernel::feature::{self, Features};
use crate::kernel::layout::{self, Layout, LayoutError};
use crate::kernel::line::{each_line_of, first_line};
use crate::kernel::mount::Tree;
use crate::kernel::name::Names;
use crate::kernel::privilege::{Capability, Privileges};
use crate::kernel::program::{self, Programs};
use crate::kernel::support::{Listing, Reason, Support};
use crate::kernel::symbol::Wanted;
use crate::kernel::{cpu, diagnosis, points, text};

/// See the module.
#[derive(Clone, Debug)]
pub struct Facts {
    pub host: String,
    /// `uname -r`: printed, never compared.
    pub release: String,
    pub machine: String,
    pub boot_id: String,
    pub online: Vec<CpuId>,
    pub possible: Vec<CpuId>,
    pub nohz_full: Vec<CpuId>,
    /// `isolcpus=`: kept free of anything that nobody asked for there.
    pub isolated: Vec<CpuId>,
    pub privileges: Privileges,
    /// The symbols that matter, of kallsyms.
    pub symbols: Result<Wanted, Reason>,
    pub btf: Result<Found, Reason>,
    pub features: Features,
    /// Functions that ftrace can hook.
    pub traceable: Listing,
    /// Functions that no kprobe may sit on.
    pub kprobe_blacklist: Listing,
    pub tracepoints: BTreeMap<String, Support>,
    pub layout: Result<Layout, LayoutError>,
    /// fentry on a function keeps a livepatch of it from being loaded, and the other way round.
    pub fentry_excludes_livepatch: bool,
    /// ftrace refuses handlers where RCU is off, and warns.
    pub ftrace_validates_rcu: FtraceValidation,
    /// Whose handlers are where.
    pub handled: Handled,
    /// Pids of other instances of rcu-watch.
    pub other_instances: Vec<u32>,
}

/// Whether `CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING`, or the check that it made optional, is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FtraceValidation {
    Yes,
    No,
    Unknown(Reason),
}

/// What cannot be read from a file and has to be asked of the kernel.
pub trait Ask {
    fn features(
        &self,
        tree: &Tree,
        privileges: &Privileges,
        symbols: &Wanted,
        btf: &Result<Found, Reason>,
    ) -> Features;
    /// BPF programs of anybody.
    fn programs(&self, tree: &Tree) -> Result<Programs, Reason>;
    /// Their ids alone, which are had at once; empty where this process may not ask.
    fn program_ids(&self) -> Vec<u32>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Running;

impl Ask for Running {
    fn features(
        &self,
        tree: &Tree,
        privileges: &Privileges,
        symbols: &Wanted,
        btf: &Result<Found, Reason>,
    ) -> Features {
        Features::probe(tree, privileges, symbols, btf)
    }

    fn programs(&self, tree: &Tree) -> Result<Programs, Reason> {
        Programs::read(tree)
    }

    fn program_ids(&self) -> Vec<u32> {
        bpf_call::program_ids()
    }
}

impl Facts {
    /// Asks the running kernel.
    #[must_use]
    pub fn probe() -> Self {
        Self::read(&Tree::live(), &Running)
    }

    /// Reads the files of `tree`, and asks `kernel` the rest.
    #[must_use]
    pub fn read(tree: &Tree, kernel: &impl Ask) -> Self {
        let privileges = Privileges::read(tree);
        let handled = merge(&Sightings::read(tree, kernel, points::runs_in_eqs));
        let sources = Sources::read(tree, &handled, &BTreeSet::new(), &privileges);
        let tracefs = tree.tracefs();
        let line = |path| first_line(&tree.path(path)).unwrap_or_default();
        let none = Wanted::default();
        let release = line("/proc/sys/kernel/osrelease");
        let Sources { symbols, btf, traceable, kprobe_blacklist } = sources;
        Self {
            features: kernel.features(tree, &privileges, symbols.as_ref().unwrap_or(&none), &btf),
            host: line("/proc/sys/kernel/hostname"),
            machine: std::env::consts::ARCH.to_owned(),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            online: cpu::parse_list(&line("/sys/devices/system/cpu/online")),
            possible: cpu::parse_list(&line("/sys/devices/system/cpu/possible")),
            nohz_full: cpu::parse_list(&line("/sys/devices/system/cpu/nohz_full")),
            isolated: cpu::parse_list(&line("/sys/devices/system/cpu/isolated")),
            tracepoints: points::tracepoints()
                .map(|name| (name.to_owned(), tracepoint(name, &symbols, &btf, tracefs.as_deref().ok())))
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
            ftrace_validates_rcu: validation(tree, &release, &traceable),
            other_instances: program::other_instances(tree),
            release,
            privileges,
            symbols,
            btf,
            traceable,
            kprobe_blacklist,
            handled,
        }
    }

    /// Takes in who has handlers now, and learns of functions that were not asked for before.
    pub fn set_handled(&mut self, tree: &Tree, handled: Handled) {
        let is_known = |function: &str| {
            self.handled.site(function).is_some() || points::functions().any(|f| f == function)
        };
        if !handled.sites.iter().all(|site| is_known(&site.function)) {
            self.set_sources(Sources::read(tree, &handled, &BTreeSet::new(), &self.privileges));
        }
        self.handled = handled;
    }

    /// Learns of functions that are on no list of ours.
    pub fn learn(&mut self, tree: &Tree, functions: &BTreeSet<String>) {
        self.set_sources(Sources::read(tree, &self.handled, functions, &self.privileges));
    }

    fn set_sources(&mut self, sources: Sources) {
        let Sources { symbols, btf, traceable, kprobe_blacklist } = sources;
        self.symbols = symbols;
        self.btf = btf;
        self.traceable = traceable;
        self.kprobe_blacklist = kprobe_blacklist;
    }
}

/// The lists that are searched for the names that matter: those of the table, and of functions with handlers.
struct Sources {
    symbols: Result<Wanted, Reason>,
    btf: Result<Found, Reason>,
    traceable: Listing,
    kprobe_blacklist: Listing,
}

impl Sources {
    fn read(tree: &Tree, handled: &Handled, more: &BTreeSet<String>, privileges: &Privileges) -> Self {
        let all: BTreeSet<String> = points::functions()
            .chain(feature::SYMBOLS.iter().copied())
            .chain(layout::SYMBOLS.iter().copied())
            .chain(diagnosis::SYMBOLS)
            .map(str::to_owned)
            .chain(handled.sites.iter().map(|site| site.function.clone()))
            .chain(more.iter().cloned())
            .collect();
        let names: Names<'_> = all.iter().map(String::as_str).collect();
        Self {
            symbols: read_symbols(tree, &names, privileges),
            btf: read_btf(tree, all.clone()),
            traceable: match tree.tracefs() {
                Ok(tracefs) => listing(&tracefs.join("available_filter_functions"), &names, |line| {
                    line.split([' ', '\t']).next().unwrap_or(line)
                }),
                Err(reason) => Listing::Unknown(reason),
            },
            kprobe_blacklist: match tree.debugfs() {
                Ok(debugfs) => listing(&debugfs.join("kprobes/blacklist"), &names, |line| {
                    line.split_ascii_whitespace().nth(1).unwrap_or("")
                }),
                Err(reason) => Listing::Unknown(reason),
            },
        }
    }
}

fn read_symbols(tree: &Tree, names: &Names<'_>, privileges: &Privileges) -> Result<Wanted, Reason> {
    let path = tree.path("/proc/kallsyms");
    // `__tracepoint_` and `__traceiter_` of the tracepoints that matter come along.
    let tracepoints: Vec<_> = points::tracepoints().collect();
    let is_wanted = |name: &str| {
        names.contains(name)
            || points::IDLE_VICTIMS.contains(&text::base(name))
            || name
                .strip_prefix("__tracepoint_")
                .or_else(|| name.strip_prefix("__traceiter_"))
                .is_some_and(|name| tracepoints.contains(&name))
    };
    let wanted = File::open(&path)
        .and_then(|file| Wanted::read(file, is_wanted))
        .map_err(|e| Reason::unreadable(&path, &e))?;
    if wanted.symbols.is_empty() && !privileges.has(Capability::Syslog) {
        return Err(Reason::with_remedy("/proc/kallsyms is empty for this process", "run as root"));
    }
    Ok(wanted)
}

fn read_btf(tree: &Tree, names: BTreeSet<String>) -> Result<Found, Reason> {
    let path = tree.path("/sys/kernel/btf/vmlinux");
    let file = File::open(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Reason::with_remedy(
            "this kernel has no BTF",
            "a kernel with CONFIG_DEBUG_INFO_BTF is needed; the stock kernels of the distributions have it",
        ),
        _ => Reason::unreadable(&path, &e),
    })?;
    let mut query = Query {
        functions: names,
        typedefs: points::tracepoints().map(|name| format!("btf_trace_{name}")).collect(),
        ..Query::default()
    };
    query.functions.insert(feature::TRIAL_TARGET.to_owned());
    layout::ask(&mut query);
    btf::search(file, &query).map_err(|e| {
        let mut why = e.to_string();
        if let Some(source) = std::error::Error::source(&e) {
            why = format!("{why}: {source}");
        }
        Reason::new(why)
    })
}

/// The names of a file that matter, found in one pass.
fn listing(path: &Path, names: &Names<'_>, name_of: impl Fn(&str) -> &str) -> Listing {
    let mut found = BTreeSet::new();
    let read = each_line_of(path, |line| {
        let name = name_of(line);
        if names.contains(name) {
            found.insert(name.to_owned());
        }
        ControlFlow::Continue(())
    });
    match read {
        Ok(()) => Listing::Known(found),
        Err(e) => Listing::Unknown(Reason::unreadable(path, &e)),
    }
}

/// Any source that shows the tracepoint will do; its absence needs one that would.
fn tracepoint(
    name: &str,
    symbols: &Result<Wanted, Reason>,
    btf: &Result<Found, Reason>,
    tracefs: Option<&Path>,
) -> Support {
    let in_symbols = symbols.as_ref().is_ok_and(|symbols| {
        symbols.has(&format!("__tracepoint_{name}")) || symbols.has(&format!("__traceiter_{name}"))
    });
    let in_btf = btf.as_ref().is_ok_and(|btf| btf.typedefs.contains(&format!("btf_trace_{name}")));
    let in_tracefs = tracefs.is_some_and(|tracefs| {
        let systems = std::fs::read_dir(tracefs.join("events")).into_iter().flatten().flatten();
        systems.into_iter().any(|system| system.path().join(name).is_dir())
    });
    if in_symbols || in_btf || in_tracefs {
        return Support::Yes;
    }
    match (symbols, btf) {
        (Err(reason), Err(_)) => Support::No(reason.clone()),
        _ => Support::no(format!("this kernel has no tracepoint {name}")),
    }
}

/// Reads the kernel's configuration where it is to be had; else tells by what else such kernels have.
fn validation(tree: &Tree, release: &str, traceable: &Listing) -> FtraceValidation {
    const OPTION: &str = "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING";
    let mut answer = None;
    let _ = each_line_of(&tree.path(&format!("/boot/config-{release}")), |line| {
        if line.contains(OPTION) {
            answer = Some(line.ends_with("=y"));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    match answer {
        Some(true) => return FtraceValidation::Yes,
        Some(false) => return FtraceValidation::No,
        None => {}
    }
    match traceable.contains("arch_cpu_idle") {
        // The check came in the series that made the idle path noinstr: d099dbfd3306 ("cpuidle: tracing: Warn
        // about !rcu_is_watching()"), 2b5a0e425e6e ("objtool/idle: Validate __cpuidle code as noinstr").
        Some(true) => FtraceValidation::No,
        Some(false) => FtraceValidation::Unknown(Reason::new(format!(
            "the configuration of this kernel is not in /boot, so {OPTION} is not known"
        ))),
        None => FtraceValidation::Unknown(Reason::new("the functions that ftrace can hook are not known")),
    }
}
