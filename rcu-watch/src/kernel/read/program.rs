//! BPF programs of anybody, by the function that they are on.
//!
//! The link of a trampoline tells its function since 5.13, that of a kprobe since 6.7. Before 6.7 the descriptor that
//! a kprobe's owner holds can be asked. A program whose function no interface tells is listed as unplaced.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use rcu_watch_core::probe::Owner;

use crate::kernel::read::btf;
use crate::kernel::read::holder::{Holders, processes};
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::SymbolTable;
use crate::sys::bpf::bpf_prog_type;
use crate::sys::bpf::link::{self, Link, LinkedTo};
use crate::sys::bpf::program::{self, LoadedProgram};

/// First letters of every program of ours, this instance's or another's.
pub(crate) const OUR_PREFIX: &str = "rcuw_";

const TRACING: bpf_prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING;
const KPROBE: bpf_prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE;
/// Id of the kernel's own BTF object: it is the first that is made.
pub(crate) const KERNEL_BTF: u32 = 1;

/// Which BPF programs are on which function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSites {
    /// Trampolines: the programs on each function of the kernel image.
    pub on_function: BTreeMap<String, Vec<NamedProgram>>,
    /// Kprobes: the programs, each with its function and offset.
    pub on_kprobe: Vec<KprobeProgram>,
    /// kprobe.multi: the programs on each function, once for each link. An fprobe calls them, which no list shows by name.
    pub on_fprobe: BTreeMap<String, Vec<NamedProgram>>,
    /// Tracing programs whose function is not told.
    pub unplaced_tracing: Vec<NamedProgram>,
    /// Kprobe programs whose place is not told.
    pub unplaced_kprobes: Vec<NamedProgram>,
    /// Programs of kprobe.multi links that do not tell their functions (before 6.6, which has
    /// `bpf_kprobe_multi_link_fill_link_info`).
    pub unplaced_fprobes: Vec<NamedProgram>,
}

/// A program as `bpftool prog` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProgram {
    pub id: u32,
    pub name: String,
    /// Who holds it; `None` where no process that is seen does.
    pub owner: Option<Owner>,
}

impl NamedProgram {
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(OUR_PREFIX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KprobeProgram {
    pub program: NamedProgram,
    /// Empty where only the address is known.
    pub function: String,
    pub offset: u64,
    /// 0 where only the function is known.
    pub address: u64,
}

impl KprobeProgram {
    /// Whether it can be this one of the kernel's list.
    #[must_use]
    pub fn is_at(&self, kprobe: &Kprobe) -> bool {
        if self.address != 0 && kprobe.address != 0 {
            return self.address == kprobe.address;
        }
        // A kprobe at the start of a function with endbr64 is moved behind it, to the ftrace site.
        let is_entry = self.offset == 0 && kprobe.is_on_ftrace;
        self.function == kprobe.function && (self.offset == kprobe.offset || is_entry)
    }
}

/// Programs and links as the kernel lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BpfObjects {
    pub programs: Vec<LoadedProgram>,
    pub links: Vec<Link>,
    /// Functions of the kernel image that links name by their BTF ids.
    pub functions: BTreeMap<u32, String>,
}

impl BpfObjects {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// That this process may not.
    pub(crate) fn read(tree: &Tree) -> Result<Self, Reason> {
        let refused = |e: std::io::Error| {
            Reason::with_remedy(format!("BPF programs of others cannot be listed: {e}"), "run as root")
        };
        let programs = program::programs().map_err(refused)?;
        if programs.is_empty() {
            return Ok(Self::default());
        }
        let links = link::links().map_err(refused)?;
        let target = |link: &Link| match link.on {
            LinkedTo::Function { target, object: KERNEL_BTF, .. } if target != 0 => Some(target),
            _ => None,
        };
        let ids: BTreeSet<u32> = links.iter().filter_map(target).collect();
        let functions = if ids.is_empty() {
            BTreeMap::new()
        } else {
            File::open(tree.path("/sys/kernel/btf/vmlinux"))
                .map_err(Into::into)
                .and_then(|f| btf::function_names(f, &ids))
                .unwrap_or_default()
        };
        Ok(Self { programs, links, functions })
    }

    /// The program with this id: they are in order of it.
    pub(crate) fn program(&self, id: u32) -> Option<&LoadedProgram> {
        let index = self.programs.binary_search_by_key(&id, |program| program.id).ok()?;
        self.programs.get(index)
    }

    /// Its name, where it has one.
    pub(crate) fn name(&self, id: u32) -> String {
        label(self.program(id).map(|program| program.name.as_str()).unwrap_or_default())
    }
}

impl ProgramSites {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// That this process may not.
    pub fn read(tree: &Tree) -> Result<Self, Reason> {
        let objects = BpfObjects::read(tree)?;
        // To look through the descriptors of all processes is dear.
        let holders = LazyCell::new(|| Holders::read(tree));
        let symbols = LazyCell::new(|| SymbolTable::load(&tree.path("/proc/kallsyms")).unwrap_or_default());
        Ok(Self::of(&objects, &holders, &symbols))
    }

    /// Sorts `objects` by what they sit on. Where a kprobe's place is not told, whoever holds it may; ours need no owner.
    fn of<F: FnOnce() -> Holders, G: FnOnce() -> SymbolTable>(
        objects: &BpfObjects,
        holders: &LazyCell<Holders, F>,
        symbols: &LazyCell<SymbolTable, G>,
    ) -> Self {
        let program = |link: u32, id: u32| {
            let mut program = NamedProgram { id, name: objects.name(id), owner: None };
            if !program.is_ours() {
                program.owner = holders.of_program(link, id);
            }
            program
        };
        let mut found = Self::default();
        let mut placed = BTreeSet::new();
        for link in &objects.links {
            let id = link.program;
            match &link.on {
                LinkedTo::Function { target, object: KERNEL_BTF, .. } if *target != 0 => {
                    placed.insert(id);
                    if let Some(function) = objects.functions.get(target) {
                        found.on_function.entry(function.clone()).or_default().push(program(link.id, id));
                    }
                }
                LinkedTo::Kprobe { symbol, offset, address, .. } if *address != 0 || !symbol.is_empty() => {
                    found.add_kprobe(program(link.id, id), symbol, *offset, *address);
                    placed.insert(id);
                }
                LinkedTo::Kprobes { addresses, .. } => {
                    let program = program(link.id, id);
                    for &address in addresses {
                        let function = symbols.resolve(address).map(|found| found.name.to_owned());
                        let function = function.unwrap_or_else(|| format!("{address:#x}"));
                        found.on_fprobe.entry(function).or_default().push(program.clone());
                    }
                    if addresses.is_empty() {
                        found.unplaced_fprobes.push(program);
                    }
                    placed.insert(id);
                }
                _ => {}
            }
        }
        let programs = &objects.programs;
        if programs.iter().any(|program| program.is(KPROBE) && !placed.contains(&program.id)) {
            for held in &holders.on_events {
                if let LinkedTo::Kprobe { symbol, offset, address, .. } = &held.on {
                    placed.insert(held.program);
                    found.add_kprobe(program(0, held.program), symbol, *offset, *address);
                }
            }
        }
        for info in programs.iter().filter(|program| !placed.contains(&program.id)) {
            if info.is(TRACING) {
                found.unplaced_tracing.push(program(0, info.id));
            } else if info.is(KPROBE) {
                found.unplaced_kprobes.push(program(0, info.id));
            }
        }
        found
    }

    fn add_kprobe(&mut self, program: NamedProgram, function: &str, offset: u64, address: u64) {
        self.on_kprobe.push(KprobeProgram { program, function: function.to_owned(), offset, address });
    }
}

fn label(name: &str) -> String {
    if name.is_empty() { "without a name".to_owned() } else { name.to_owned() }
}

/// Pids of other instances of rcu-watch that hold BPF programs.
#[must_use]
pub(crate) fn other_instances(tree: &Tree) -> Vec<u32> {
    let own = std::process::id();
    let mut pids: Vec<_> = processes(tree)
        .filter(|&pid| pid != own)
        .filter(|pid| {
            let comm = crate::kernel::read::line::first_line(&tree.path(&format!("/proc/{pid}/comm")));
            comm.is_ok_and(|comm| comm == "rcu-watch") && holds_programs(tree, *pid)
        })
        .collect();
    pids.sort_unstable();
    pids
}

fn holds_programs(tree: &Tree, pid: u32) -> bool {
    let fds = std::fs::read_dir(tree.path(&format!("/proc/{pid}/fd"))).into_iter().flatten().flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|target| target.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:bpf-prog"))
}
