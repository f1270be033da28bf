//! Reads the lists that kernel names stand in, once for all names that are wanted.
//!
//! The lists are long (kallsyms has up to 200,000 lines), so every name is collected first and each list is
//! gone through once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use crate::kernel::facts::attribution::Handled;
use crate::kernel::facts::question::Questions;
use crate::kernel::facts::validation::FtraceValidation;
use crate::kernel::facts::{feature, layout, watchpoint};
use crate::kernel::read::btf::{self, FoundTypes, Query};
use crate::kernel::read::line::each_line_of;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::name::Names;
use crate::kernel::read::privilege::{Capability, Privileges};
use crate::kernel::read::support::{Listing, Reason, Support};
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::{grace_period, text};

/// The kernel's lists, cut down to the names that were asked for and those of functions with handlers.
pub(super) struct Sources {
    pub(super) symbols: Result<FoundSymbols, Reason>,
    pub(super) btf: Result<FoundTypes, Reason>,
    pub(super) traceable: Listing,
    pub(super) kprobe_blacklist: Listing,
}

impl Sources {
    pub(super) fn read(
        tree: &Tree,
        questions: &Questions,
        handled: &Handled,
        more: &BTreeSet<String>,
        privileges: &Privileges,
    ) -> Self {
        let own =
            [feature::SYMBOLS, layout::SYMBOLS, text::SYMBOLS, grace_period::SYMBOLS, watchpoint::SYMBOLS];
        let all: BTreeSet<String> = questions
            .names
            .iter()
            .chain(own.into_iter().flatten())
            .copied()
            .map(str::to_owned)
            .chain(handled.sites.iter().map(|site| site.function.clone()))
            .chain(more.iter().cloned())
            .collect();
        let names: Names<'_> = all.iter().map(String::as_str).collect();
        Self {
            symbols: read_symbols(tree, questions, &names, privileges),
            btf: read_btf(tree, questions, all.clone()),
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

fn read_symbols(
    tree: &Tree,
    questions: &Questions,
    names: &Names<'_>,
    privileges: &Privileges,
) -> Result<FoundSymbols, Reason> {
    let path = tree.path("/proc/kallsyms");
    // `__tracepoint_` and `__traceiter_` of the tracepoints that matter come along.
    let is_wanted = |name: &str| {
        names.contains(name)
            || questions.with_parts.contains(&text::base(name))
            || name
                .strip_prefix("__tracepoint_")
                .or_else(|| name.strip_prefix("__traceiter_"))
                .is_some_and(|name| questions.tracepoints.contains(&name))
    };
    let wanted = File::open(&path)
        .and_then(|file| FoundSymbols::read(file, is_wanted))
        .map_err(|e| Reason::unreadable(&path, &e))?;
    if wanted.symbols.is_empty() && !privileges.has(Capability::Syslog) {
        return Err(Reason::with_remedy("/proc/kallsyms is empty for this process", "run as root"));
    }
    Ok(wanted)
}

fn read_btf(tree: &Tree, questions: &Questions, names: BTreeSet<String>) -> Result<FoundTypes, Reason> {
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
        typedefs: questions.tracepoints.iter().map(|name| format!("btf_trace_{name}")).collect(),
        ..Query::default()
    };
    query.functions.insert(feature::TRIAL_TARGET.to_owned());
    layout::ask(&mut query);
    grace_period::ask(&mut query);
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

/// Where ftrace's sites of the functions with handlers are: tracefs `available_filter_functions_addrs`, which kernels before
/// 6.5 do not have. Nobody asks where ftrace runs every handler: the list is as long as that of all functions.
///
/// A name that stands there twice has no place: the kernel names a site that a weak function left behind by the function
/// before it (kernel/trace/ftrace.c:print_rec).
pub(super) fn ftrace_sites(
    tree: &Tree,
    validates: &FtraceValidation,
    handled: &Handled,
) -> BTreeMap<String, u64> {
    let (FtraceValidation::Yes, Ok(tracefs)) = (validates, tree.tracefs()) else { return BTreeMap::new() };
    let names: Names<'_> = handled.sites.iter().map(|site| site.function.as_str()).collect();
    let mut found: BTreeMap<String, Option<u64>> = BTreeMap::new();
    // A list that cannot be read gives no place, and the plan says what that costs.
    let _ = each_line_of(&tracefs.join("available_filter_functions_addrs"), |line| {
        let mut words = line.split([' ', '\t']);
        let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        if let (Some(address), Some(name)) = (address, words.next())
            && names.contains(name)
        {
            let place = Some(address).filter(|_| !found.contains_key(name));
            found.insert(name.to_owned(), place);
        }
        ControlFlow::Continue(())
    });
    found.into_iter().filter_map(|(name, place)| Some((name, place?))).collect()
}

/// Whether the kernel has this tracepoint. One source that shows it is enough; that none shows it says something
/// only where one could be read.
pub(super) fn tracepoint(
    name: &str,
    symbols: &Result<FoundSymbols, Reason>,
    btf: &Result<FoundTypes, Reason>,
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
