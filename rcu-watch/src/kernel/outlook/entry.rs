//! Whether ftrace has an entry in a function, told by address.
//!
//! `available_filter_functions` names each entry by the first symbol of its address, and a function can have several
//! names: `__x64_sys_getpid` is listed as `__do_sys_getpid`. A livepatch finds its function by any of them
//! (kernel/livepatch/core.c:klp_find_object_symbol), and its entry by the address (klp_get_ftrace_location).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use crate::kernel::read::line::each_line_of;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::symbol::{Listed, each_symbol};

/// A function that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub function: String,
    /// `None`: the kernel image, or else whichever module has it.
    pub object: Option<String>,
    /// Which of those of its name, from 1; 0: the only one.
    pub sympos: u64,
}

/// What was found of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// `vmlinux`, or the module that has it.
    pub object: String,
    /// Symbols of its name there; `None`: kallsyms cannot be read.
    pub namesakes: Option<u64>,
    /// All names of its address, its own among them.
    pub names: Vec<String>,
    /// Whether ftrace has an entry in it; `None`: nobody can say.
    pub has_entry: Option<bool>,
}

/// A function's address, and that of the next one.
#[derive(Clone, Copy, Debug)]
struct Extent {
    start: u64,
    end: u64,
}

/// Looks all of them up, in two passes over kallsyms and one over the entries.
#[must_use]
pub(crate) fn places(tree: &Tree, wanted: &[Wanted]) -> Vec<Place> {
    let kallsyms = tree.path("/proc/kallsyms");
    let nowhere = |wanted: &Wanted| {
        let object = wanted.object.clone().unwrap_or_else(|| VMLINUX.to_owned());
        Place { object, names: vec![wanted.function.clone()], ..Place::default() }
    };
    let Ok(found) = File::open(&kallsyms).and_then(|file| addresses(file, wanted)) else {
        return wanted.iter().map(nowhere).collect();
    };
    let mut places: Vec<(Place, Option<Extent>)> = wanted.iter().map(|one| place(one, &found)).collect();
    if let Ok(file) = File::open(&kallsyms) {
        // Where this pass fails, each function has the one name and no end.
        let _ = extend(file, &mut places);
    }
    entries(tree, &mut places);
    places.into_iter().map(|(place, _)| place).collect()
}

const VMLINUX: &str = "vmlinux";
/// Taken for the length of a function whose end is not known: an entry is no further behind its start.
const ENTRY_BYTES: u64 = 16;

/// Addresses of each name, by object, in the kernel's order.
type Addresses = BTreeMap<String, BTreeMap<String, Vec<u64>>>;

fn addresses(kallsyms: File, wanted: &[Wanted]) -> io::Result<Addresses> {
    let mut found: Addresses = wanted.iter().map(|one| (one.function.clone(), BTreeMap::new())).collect();
    each_symbol(kallsyms, |Listed { address, name, module, .. }| {
        if let Some(objects) = found.get_mut(name) {
            objects.entry(module.unwrap_or(VMLINUX).to_owned()).or_default().push(address);
        }
    })?;
    Ok(found)
}

fn place(wanted: &Wanted, found: &Addresses) -> (Place, Option<Extent>) {
    let objects = &found[&wanted.function];
    let object = wanted.object.clone().unwrap_or_else(|| {
        let first = objects.contains_key(VMLINUX).then_some(VMLINUX);
        first.or_else(|| objects.keys().next().map(String::as_str)).unwrap_or(VMLINUX).to_owned()
    });
    let addresses = objects.get(&object).map_or(&[][..], Vec::as_slice);
    let index = usize::try_from(wanted.sympos.saturating_sub(1)).unwrap_or(usize::MAX);
    let start = addresses.get(index).copied().filter(|&start| start != 0);
    let place = Place {
        object,
        namesakes: Some(addresses.len() as u64),
        names: vec![wanted.function.clone()],
        has_entry: None,
    };
    (place, start.map(|start| Extent { start, end: start.saturating_add(ENTRY_BYTES) }))
}

/// Finds the other names of each address, and where the function ends.
fn extend(kallsyms: File, places: &mut [(Place, Option<Extent>)]) -> io::Result<()> {
    let mut next: Vec<u64> = vec![u64::MAX; places.len()];
    each_symbol(kallsyms, |Listed { address, is_text, name, module }| {
        if !is_text {
            return;
        }
        for ((place, extent), next) in places.iter_mut().zip(&mut next) {
            let Some(Extent { start, .. }) = *extent else { continue };
            if address > start {
                *next = address.min(*next);
            }
            let is_alias = address == start && module.unwrap_or(VMLINUX) == place.object;
            if is_alias && !place.names.iter().any(|known| known == name) {
                place.names.push(name.to_owned());
            }
        }
    })?;
    for ((_, extent), next) in places.iter_mut().zip(next) {
        if let Some(extent) = extent
            && next != u64::MAX
        {
            extent.end = next;
        }
    }
    Ok(())
}

/// By the addresses of the entries where the kernel lists them, else by the names of the function's address.
fn entries(tree: &Tree, places: &mut [(Place, Option<Extent>)]) {
    let Ok(tracefs) = tree.tracefs() else { return };
    let by_address = each_line_of(&tracefs.join("available_filter_functions_addrs"), |line| {
        let address = line.split(' ').next().unwrap_or_default();
        if let Ok(address) = u64::from_str_radix(address.trim_start_matches("0x"), 16) {
            for (place, extent) in &mut *places {
                if extent.is_some_and(|Extent { start, end }| (start..end).contains(&address)) {
                    place.has_entry = Some(true);
                }
            }
        }
        ControlFlow::Continue(())
    });
    let by_name = each_line_of(&tracefs.join("available_filter_functions"), |line| {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let module = words.find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        for (place, extent) in &mut *places {
            // Of several functions of the name, this may be another's entry.
            let is_sure = by_address.is_err() || extent.is_none();
            let is_it = place.object == module.unwrap_or(VMLINUX) && place.names.iter().any(|n| n == name);
            if is_sure && is_it {
                place.has_entry = Some(true);
            }
        }
        ControlFlow::Continue(())
    });
    if by_name.is_err() {
        return;
    }
    for (place, extent) in places {
        // Without its address another name of it may stand in the list.
        if place.has_entry.is_none() && extent.is_some() {
            place.has_entry = Some(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff96835600 T __pfx_arch_cpu_idle
ffffffff96835610 T arch_cpu_idle
ffffffff96840000 T __do_sys_getpid
ffffffff96840000 T __x64_sys_getpid
ffffffff96840100 t show
ffffffff96840200 t show
ffffffff96840300 t notrace_thing
ffffffff96840400 D show
ffffffffc0a00010 t demo_run\t[demo]
ffffffffc0a00110 t show\t[demo]
";
    const NAMES: &str = "__do_sys_getpid\nshow\ndemo_run [demo]\n";
    /// Behind an endbr64; of the two functions called show it is the second.
    const ADDRESSES: &str =
        "ffffffff96840004 __do_sys_getpid\nffffffff96840204 show\nffffffffc0a00014 demo_run [demo]\n";

    fn found(files: &[(&str, &str)], function: &str, object: Option<&str>, sympos: u64) -> Place {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let wanted = Wanted { function: function.into(), object: object.map(str::to_owned), sympos };
        places(&Tree::under(root.path()), &[wanted]).remove(0)
    }

    const TRACE: (&str, &str) = ("sys/kernel/tracing/trace", "");
    const LIST: (&str, &str) = ("sys/kernel/tracing/available_filter_functions", NAMES);
    const SYMBOLS: (&str, &str) = ("proc/kallsyms", KALLSYMS);

    #[test]
    fn another_name_of_a_traceable_function_is_traceable_too() {
        let addresses = ("sys/kernel/tracing/available_filter_functions_addrs", ADDRESSES);
        for files in [&[TRACE, LIST, SYMBOLS][..], &[TRACE, LIST, SYMBOLS, addresses]] {
            let place = found(files, "__x64_sys_getpid", Some("vmlinux"), 0);
            assert_eq!((place.has_entry, place.namesakes), (Some(true), Some(1)));
            assert_eq!(place.names, ["__x64_sys_getpid", "__do_sys_getpid"]);
            assert_eq!(found(files, "notrace_thing", None, 0).has_entry, Some(false));
        }
    }

    #[test]
    fn of_two_functions_of_one_name_the_address_tells_which_has_the_entry() {
        let files =
            [TRACE, LIST, SYMBOLS, ("sys/kernel/tracing/available_filter_functions_addrs", ADDRESSES)];
        let at = |sympos| found(&files, "show", Some("vmlinux"), sympos);
        // The kernel counts what is no function, too.
        assert_eq!((at(1).has_entry, at(1).namesakes), (Some(false), Some(3)));
        assert_eq!(at(2).has_entry, Some(true));
        assert_eq!(found(&files, "show", Some("demo"), 0).namesakes, Some(1));
    }

    #[test]
    fn a_function_that_was_asked_for_without_its_object_is_found_in_its_module() {
        let place = found(&[TRACE, LIST, SYMBOLS], "demo_run", None, 0);
        assert_eq!((place.object.as_str(), place.has_entry), ("demo", Some(true)));
        assert_eq!(found(&[TRACE, LIST, SYMBOLS], "no_such", None, 0).namesakes, Some(0));
    }

    #[test]
    fn hidden_addresses_and_closed_lists_leave_it_open() {
        let hidden = "0000000000000000 T __x64_sys_getpid\n0000000000000000 T __do_sys_getpid\n";
        let place = found(&[TRACE, LIST, ("proc/kallsyms", hidden)], "__x64_sys_getpid", None, 0);
        assert_eq!((place.has_entry, place.namesakes), (None, Some(1)));
        assert_eq!(found(&[SYMBOLS], "__x64_sys_getpid", None, 0).has_entry, None);
        assert_eq!(found(&[TRACE, LIST], "__x64_sys_getpid", None, 0).namesakes, None);
    }
}
