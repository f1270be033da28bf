//! The kernel's table of kprobes, out of kernel memory: whose handlers each calls, and what it missed.
//!
//! debugfs `kprobes/list` has a line for each `struct kprobe` and not whose it is. The table is `kprobe_table` of
//! kernel/kprobes.c, 64 lists; where several kprobes share an address, its list has one that stands for them
//! (`aggr_pre_handler`), and they hang on that one's own list. Nothing is locked, so kprobes come and go while they are
//! read: a walk is bounded, and callers take only what the kernel's list has at the same address.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::io;

use crate::kernel::read::btf::{self, FoundTypes, Query};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::FoundSymbols;
use crate::sys::memory::KernelMemory;

const TABLE: &str = "kprobe_table";
/// KPROBE_TABLE_SIZE.
const BUCKETS: u64 = 64;
/// The handler of a kprobe that stands for several.
const OF_SEVERAL: &str = "aggr_pre_handler";
/// The handler of the kprobe of every kretprobe.
const OF_RETURN: &str = "pre_handler_kretprobe";
const KPROBE: &str = "kprobe";
const KRETPROBE: &str = "kretprobe";
/// Kprobes that are looked at. A tool that sets up more is known by its events or programs.
const KPROBES_MAX: usize = 4096;
/// Bytes of a pointer.
const WORD: usize = 8;

/// Symbols that the walk starts from.
const SYMBOLS: &[&str] = &[TABLE, OF_SEVERAL, OF_RETURN];

/// What the walk needs of the BTF.
fn query() -> Query {
    let members: [(&str, &[&str]); 2] = [
        (KPROBE, &["hlist", "list", "nmissed", "addr", "pre_handler", "post_handler"]),
        (KRETPROBE, &["kp", "handler", "entry_handler", "nmissed"]),
    ];
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let members = members.into_iter().map(|(of, all)| (of.to_owned(), names(all))).collect();
    Query { members, ..Query::default() }
}

/// A `struct kprobe` that somebody registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub address: u64,
    pub is_return: bool,
    /// The functions that its owner gave to be called, those that are set.
    pub handlers: Vec<u64>,
    /// Hits that found another kprobe's handler running, or of a kretprobe all of its instances in use.
    pub missed: u64,
}

/// Where this kernel keeps the words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    table: u64,
    of_several: u64,
    of_return: Option<u64>,
    hlist: u64,
    list: u64,
    missed: u64,
    address: u64,
    pre_handler: u64,
    post_handler: u64,
    kretprobe: Option<ReturnPlaces>,
}

/// Offsets in `kretprobe`, of which a kprobe is the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReturnPlaces {
    handler: u64,
    entry_handler: u64,
    missed: u64,
}

impl Places {
    /// Finds them.
    ///
    /// # Errors
    /// What this kernel does not show.
    pub(crate) fn find(btf: &FoundTypes, symbols: &FoundSymbols) -> Result<Self, Reason> {
        let symbol = |name: &str| {
            symbols.address(name).ok_or_else(|| {
                Reason::with_remedy(
                    format!("kallsyms shows no `{name}`"),
                    "run as root on a kernel with CONFIG_KALLSYMS_ALL",
                )
            })
        };
        let has = |of: &str, name: &str| Some(u64::from(btf.member(of, name)?.offset_bytes));
        let offset = |name: &str| {
            has(KPROBE, name).ok_or_else(|| Reason::new(format!("this kernel's BTF has no `kprobe.{name}`")))
        };
        let kretprobe = || {
            // What lies before its kprobe could not be told from another struct.
            (has(KRETPROBE, "kp")? == 0).then_some(())?;
            Some(ReturnPlaces {
                handler: has(KRETPROBE, "handler")?,
                entry_handler: has(KRETPROBE, "entry_handler")?,
                missed: has(KRETPROBE, "nmissed")?,
            })
        };
        Ok(Self {
            table: symbol(TABLE)?,
            of_several: symbol(OF_SEVERAL)?,
            of_return: symbols.address(OF_RETURN),
            hlist: offset("hlist")?,
            list: offset("list")?,
            missed: offset("nmissed")?,
            address: offset("addr")?,
            pre_handler: offset("pre_handler")?,
            post_handler: offset("post_handler")?,
            kretprobe: kretprobe(),
        })
    }
}

/// The words of one `struct kprobe`.
#[derive(Clone, Copy, Debug)]
struct Words {
    at: u64,
    /// The next one of its list of the table.
    next: u64,
    /// The first one, by its list, of those that it stands for.
    first: u64,
    missed: u64,
    address: u64,
    pre_handler: u64,
    post_handler: u64,
}

/// Reads the kernel's own table of kprobes. Nothing is attached for it: `memory` is a program that user space runs by
/// hand (`bpf/peek.rs`).
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read<M: KernelMemory, E: Error>(
    tree: &Tree,
    memory: impl FnOnce() -> Result<M, E>,
) -> Result<Vec<Registered>, Reason> {
    let kallsyms = tree.path("/proc/kallsyms");
    let symbols = File::open(&kallsyms)
        .and_then(|file| FoundSymbols::read(file, |name| SYMBOLS.contains(&name)))
        .map_err(|e| Reason::unreadable(&kallsyms, &e))?;
    let types = tree.path("/sys/kernel/btf/vmlinux");
    let file = File::open(&types).map_err(|e| Reason::unreadable(&types, &e))?;
    let types = btf::search(file, &query()).map_err(|error| Reason::new(error.to_string()))?;
    let places = Places::find(&types, &symbols)?;
    let memory = memory().map_err(|error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Reason::with_remedy(
            format!("no program can read kernel memory here: {error}{cause}"),
            "run as root on a kernel since 5.10",
        )
    })?;
    walk(&memory, &places).map_err(|error| Reason::new(format!("kernel memory cannot be read: {error}")))
}

/// Every kprobe of the table that somebody registered, as it was while it was read.
///
/// # Errors
/// Where nothing could be read at all.
fn walk(memory: &impl KernelMemory, places: &Places) -> io::Result<Vec<Registered>> {
    let heads: Vec<u64> = (0..BUCKETS).map(|bucket| places.table + bucket * WORD as u64).collect();
    let mut next: Vec<u64> = words(memory, &heads)?.into_iter().flatten().collect();
    // The table itself is always there. Where the kernel is locked down, its memory reads as nothing.
    if next.is_empty() {
        return Err(io::Error::other("the kernel's table of kprobes reads as nothing"));
    }
    let mut seen = BTreeSet::new();
    let mut single = Vec::new();
    // Of those that others stand for: where the list ends, and the place in it.
    let mut members: Vec<(u64, u64)> = Vec::new();
    while !next.is_empty() && seen.len() < KPROBES_MAX {
        let fresh = next.iter().filter(|&&node| node != 0).map(|node| node.wrapping_sub(places.hlist));
        let fresh: Vec<u64> = fresh.filter(|&at| seen.insert(at)).collect();
        let read = kprobes(memory, places, &fresh)?;
        next = read.iter().map(|kprobe| kprobe.next).collect();
        for kprobe in read {
            if kprobe.pre_handler == places.of_several {
                members.push((kprobe.at + places.list, kprobe.first));
            } else {
                single.push(kprobe);
            }
        }
    }
    while !members.is_empty() && seen.len() < KPROBES_MAX {
        members.retain(|&(head, node)| node != head && node != 0);
        let at = members.iter().map(|&(head, node)| (head, node.wrapping_sub(places.list)));
        let fresh: Vec<(u64, u64)> = at.filter(|&(_, at)| seen.insert(at)).collect();
        let places_of: Vec<u64> = fresh.iter().map(|&(_, at)| at).collect();
        let read = kprobes(memory, places, &places_of)?;
        let head = |at: u64| fresh.iter().find(|&&(_, of)| of == at).map(|&(head, _)| head);
        members = read.iter().filter_map(|kprobe| Some((head(kprobe.at)?, kprobe.first))).collect();
        single.extend(read);
    }
    single.into_iter().map(|kprobe| registered(memory, places, &kprobe)).collect()
}

fn registered(memory: &impl KernelMemory, places: &Places, kprobe: &Words) -> io::Result<Registered> {
    let Words { at, address, missed, .. } = *kprobe;
    let is_return = places.of_return == Some(kprobe.pre_handler);
    let mut found =
        Registered { address, is_return, handlers: vec![kprobe.pre_handler, kprobe.post_handler], missed };
    if is_return {
        let words = match places.kretprobe {
            Some(of) => words(memory, &[at + of.handler, at + of.entry_handler])?,
            None => Vec::new(),
        };
        found.handlers = words.into_iter().flatten().collect();
        if let Some(of) = places.kretprobe {
            // `int nmissed`
            let bytes = memory.read(&[(at + of.missed, 4)])?.into_iter().flatten().next();
            let more = bytes.and_then(|bytes| bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)));
            found.missed = missed.saturating_add(more.unwrap_or(0).into());
        }
    }
    found.handlers.retain(|&handler| handler != 0);
    Ok(found)
}

fn kprobes(memory: &impl KernelMemory, places: &Places, all: &[u64]) -> io::Result<Vec<Words>> {
    let of =
        [places.hlist, places.list, places.missed, places.address, places.pre_handler, places.post_handler];
    let asked: Vec<u64> = all.iter().flat_map(|&at| of.map(|offset| at.wrapping_add(offset))).collect();
    let read = words(memory, &asked)?;
    let one = |(&at, words): (&u64, &[Option<u64>])| match *words {
        [Some(next), Some(first), Some(missed), Some(address), Some(pre_handler), Some(post_handler)] => {
            Some(Words { at, next, first, missed, address, pre_handler, post_handler })
        }
        // It has gone.
        _ => None,
    };
    Ok(all.iter().zip(read.chunks_exact(of.len())).filter_map(one).collect())
}

fn words(memory: &impl KernelMemory, at: &[u64]) -> io::Result<Vec<Option<u64>>> {
    let places: Vec<(u64, usize)> = at.iter().map(|&at| (at, WORD)).collect();
    let read = memory.read(&places)?;
    let word = |bytes: Option<Vec<u8>>| Some(u64::from_ne_bytes(*bytes?.first_chunk()?));
    Ok(read.into_iter().map(word).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernel::read::btf::Member;

    const SEVERAL: u64 = 0xffff_ffff_8100_0100;
    const RETURN: u64 = 0xffff_ffff_8100_0200;
    const TABLE_AT: u64 = 0xffff_ffff_8200_0000;

    /// Kernel memory, by words.
    #[derive(Default)]
    struct Memory(BTreeMap<u64, u64>);

    impl KernelMemory for Memory {
        fn read(&self, places: &[(u64, usize)]) -> io::Result<Vec<Option<Vec<u8>>>> {
            let one = |&(at, len): &(u64, usize)| Some(self.0.get(&at)?.to_ne_bytes()[..len].to_vec());
            Ok(places.iter().map(one).collect())
        }
    }

    impl Memory {
        fn new() -> Self {
            Self((0..BUCKETS).map(|bucket| (TABLE_AT + bucket * 8, 0)).collect())
        }

        /// As 6.12 lays a kprobe out.
        fn kprobe(&mut self, at: u64, next: u64, list: u64, address: u64, handlers: [u64; 2]) {
            let words = [(0, next), (16, list), (32, 7), (40, address), (64, handlers[0]), (72, handlers[1])];
            self.0.extend(words.map(|(offset, word)| (at + offset, word)));
        }
    }

    fn places() -> Places {
        let member = |offset_bytes| Member { offset_bytes, size_bytes: 8 };
        let of = |members: &[(&str, u32)]| {
            members.iter().map(|&(name, offset)| (name.to_owned(), member(offset))).collect()
        };
        let kprobe = of(&[
            ("hlist", 0),
            ("list", 16),
            ("nmissed", 32),
            ("addr", 40),
            ("pre_handler", 64),
            ("post_handler", 72),
        ]);
        let kretprobe = of(&[("kp", 0), ("handler", 120), ("entry_handler", 128), ("nmissed", 140)]);
        let members = [(KPROBE.to_owned(), kprobe), (KRETPROBE.to_owned(), kretprobe)].into();
        let text = "\
ffffffff81000100 t aggr_pre_handler
ffffffff81000200 t pre_handler_kretprobe
ffffffff82000000 b kprobe_table
";
        let symbols = FoundSymbols::read(text.as_bytes(), |name| SYMBOLS.contains(&name)).unwrap();
        Places::find(&FoundTypes { members, ..FoundTypes::default() }, &symbols).unwrap()
    }

    #[test]
    fn kprobes_of_one_list_are_found_with_the_handlers_that_they_have() {
        let mut memory = Memory::new();
        memory.0.insert(TABLE_AT + 8, 0x1000);
        memory.kprobe(0x1000, 0x2000, 0x1010, 0xa0, [0x51, 0]);
        memory.kprobe(0x2000, 0, 0x2010, 0xb0, [0x52, 0x53]);
        let found = walk(&memory, &places()).unwrap();
        let told: Vec<_> = found.iter().map(|k| (k.address, k.handlers.as_slice(), k.missed)).collect();
        assert_eq!(told, [(0xa0, [0x51].as_slice(), 7), (0xb0, [0x52, 0x53].as_slice(), 7)]);
    }

    #[test]
    fn those_that_another_stands_for_are_found_and_it_is_none() {
        let mut memory = Memory::new();
        memory.0.insert(TABLE_AT, 0x1000);
        memory.kprobe(0x1000, 0, 0x2010, 0xa0, [SEVERAL, 0]);
        memory.kprobe(0x2000, 0x9999, 0x3010, 0xa0, [0x51, 0]);
        memory.kprobe(0x3000, 0x9999, 0x1010, 0xa0, [0x52, 0]);
        let handlers: Vec<_> = walk(&memory, &places()).unwrap().iter().map(|k| k.handlers[0]).collect();
        assert_eq!(handlers, [0x51, 0x52]);
    }

    #[test]
    fn a_kretprobes_handlers_are_its_own_and_its_misses_are_of_both_kinds() {
        let mut memory = Memory::new();
        memory.0.insert(TABLE_AT, 0x1000);
        memory.kprobe(0x1000, 0, 0x1010, 0xa0, [RETURN, 0]);
        memory.0.extend([(0x1000 + 120, 0x61), (0x1000 + 128, 0), (0x1000 + 140, 5)]);
        let found = walk(&memory, &places()).unwrap();
        assert_eq!(found, [Registered { address: 0xa0, is_return: true, handlers: vec![0x61], missed: 12 }]);
    }

    #[test]
    fn a_list_that_leads_in_a_circle_ends_and_one_that_leads_nowhere_does_too() {
        let mut memory = Memory::new();
        memory.0.insert(TABLE_AT, 0x1000);
        memory.kprobe(0x1000, 0x2000, 0x1010, 0xa0, [0x51, 0]);
        memory.kprobe(0x2000, 0x1000, 0x2010, 0xb0, [0x52, 0]);
        memory.0.insert(TABLE_AT + 8, 0xdead_0000);
        assert_eq!(walk(&memory, &places()).unwrap().len(), 2);
        memory.kprobe(0x2000, 0, 0x3010, 0xb0, [SEVERAL, 0]);
        memory.kprobe(0x3000, 0, 0x3010, 0xb0, [0x53, 0]);
        assert_eq!(walk(&memory, &places()).unwrap().len(), 2);
    }

    #[test]
    fn memory_that_cannot_be_read_is_no_table_without_kprobes() {
        assert!(walk(&Memory::default(), &places()).is_err());
        assert_eq!(walk(&Memory::new(), &places()).unwrap(), []);
    }

    #[test]
    fn what_the_kernel_does_not_show_is_told() {
        let none = FoundSymbols::default();
        let why = Places::find(&FoundTypes::default(), &none).unwrap_err().to_string();
        assert!(why.starts_with("kallsyms shows no `kprobe_table`"), "{why}");
    }
}
