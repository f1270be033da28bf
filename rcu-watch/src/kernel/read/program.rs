//! BPF programs of anybody, by the function that they are on.
//!
//! The link of a trampoline tells its function since 5.13, that of a kprobe since 6.7. Before 6.7 the descriptor that
//! a kprobe's owner holds can be asked. A program whose function no interface tells is listed as unplaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use crate::kernel::read::btf;
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::sys::bpf::bpf_prog_type;
use crate::sys::bpf::link::{self, HeldKprobe, LinkedTo};
use crate::sys::bpf::program;

/// First letters of every program of ours, this instance's or another's.
pub(crate) const OUR_PREFIX: &str = "rcuw_";

const TRACING: bpf_prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING;
const KPROBE: bpf_prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE;
/// Id of the kernel's own BTF object: it is the first that is made.
const KERNEL_BTF: u32 = 1;

/// Which BPF programs are on which function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramSites {
    /// Trampolines: the programs on each function of the kernel image.
    pub on_function: BTreeMap<String, Vec<NamedProgram>>,
    /// Kprobes: the programs, each with its function and offset.
    pub on_kprobe: Vec<KprobeProgram>,
    /// Tracing programs whose function is not told.
    pub unplaced_tracing: Vec<NamedProgram>,
    /// Kprobe programs whose place is not told.
    pub unplaced_kprobes: Vec<NamedProgram>,
}

/// A program as `bpftool prog` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProgram {
    pub id: u32,
    pub name: String,
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

impl ProgramSites {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// That this process may not.
    pub fn read(tree: &Tree) -> Result<Self, Reason> {
        let refused = |e: std::io::Error| {
            Reason::with_remedy(format!("BPF programs of others cannot be listed: {e}"), "run as root")
        };
        let programs = program::programs().map_err(refused)?;
        if !programs.iter().any(|program| program.is(TRACING) || program.is(KPROBE)) {
            return Ok(Self::default());
        }
        let names: BTreeMap<u32, &str> = programs.iter().map(|p| (p.id, p.name.as_str())).collect();
        let program = |id: u32| NamedProgram { id, name: label(names.get(&id).copied().unwrap_or_default()) };
        let mut found = Self::default();
        let mut placed = BTreeSet::new();
        let mut targets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for link in link::links().map_err(refused)? {
            match link.on {
                LinkedTo::Function { target, object: KERNEL_BTF } if target != 0 => {
                    targets.entry(target).or_default().push(link.program);
                    placed.insert(link.program);
                }
                LinkedTo::Kprobe { symbol, offset, address } if address != 0 || !symbol.is_empty() => {
                    let program = program(link.program);
                    found.on_kprobe.push(KprobeProgram { program, function: symbol, offset, address });
                    placed.insert(link.program);
                }
                LinkedTo::Kprobes { addresses } => {
                    let program = program(link.program);
                    found.on_kprobe.extend(addresses.into_iter().map(|address| KprobeProgram {
                        program: program.clone(),
                        function: String::new(),
                        offset: 0,
                        address,
                    }));
                    placed.insert(link.program);
                }
                _ => {}
            }
        }
        let ids = targets.keys().copied().collect();
        if let Ok(functions) = File::open(tree.path("/sys/kernel/btf/vmlinux"))
            .map_err(Into::into)
            .and_then(|f| btf::function_names(f, &ids))
        {
            for (target, programs) in targets {
                if let Some(function) = functions.get(&target) {
                    let programs = programs.into_iter().map(&program);
                    found.on_function.entry(function.clone()).or_default().extend(programs);
                }
            }
        }
        let is_kprobe_unplaced =
            |placed: &BTreeSet<u32>| programs.iter().any(|p| p.is(KPROBE) && !placed.contains(&p.id));
        if is_kprobe_unplaced(&placed) {
            for HeldKprobe { program: id, symbol, offset, address } in held_kprobes(tree) {
                placed.insert(id);
                let program = program(id);
                found.on_kprobe.push(KprobeProgram { program, function: symbol, offset, address });
            }
        }
        for info in programs.iter().filter(|program| !placed.contains(&program.id)) {
            if info.is(TRACING) {
                found.unplaced_tracing.push(program(info.id));
            } else if info.is(KPROBE) {
                found.unplaced_kprobes.push(program(info.id));
            }
        }
        Ok(found)
    }
}

fn label(name: &str) -> String {
    if name.is_empty() { "without a name".to_owned() } else { name.to_owned() }
}

/// Kprobes that some process holds as a perf event with a BPF program on it.
fn held_kprobes(tree: &Tree) -> Vec<HeldKprobe> {
    let mut held = Vec::new();
    for pid in processes(tree) {
        let fds = std::fs::read_dir(tree.path(&format!("/proc/{pid}/fd"))).into_iter().flatten().flatten();
        for fd in fds {
            let is_perf = std::fs::read_link(fd.path())
                .is_ok_and(|target| target.as_os_str().as_encoded_bytes() == b"anon_inode:[perf_event]");
            if is_perf
                && let Some(number) = fd.file_name().to_str().and_then(|name| name.parse().ok())
                && let Ok(kprobe) = link::kprobe_of(pid, number)
            {
                held.push(kprobe);
            }
        }
    }
    held
}

fn processes(tree: &Tree) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(tree.path("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
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
