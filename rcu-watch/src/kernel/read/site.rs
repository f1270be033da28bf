//! Where ftrace's records of a function are, from tracefs `available_filter_functions_addrs`.
//!
//! `ffffffff81001004 vfs_read` or `ffffffffc0123000 demo_entry [demo]`: address and name, in order of address. The
//! name is the symbol that lies before the record, and a record that a weak function left behind lies in no
//! function of its own, so it bears the name of the one before (kernel/trace/ftrace.c:ftrace_avail_addrs_open, print_rec).
//! Kernels before 6.5 have no such file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::units::Address;

use crate::kernel::read::line::each_line_of;

/// The records of the functions that are `wanted`; `None` where this kernel has no such file.
///
/// # Errors
/// That of the read.
pub(crate) fn records(
    tracefs: &Path,
    wanted: &BTreeSet<&str>,
) -> io::Result<Option<BTreeMap<String, Vec<Address>>>> {
    let mut records: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    let read = each_line_of(&tracefs.join("available_filter_functions_addrs"), |line| {
        if let Some((address, name)) = parse(line)
            && wanted.contains(name)
        {
            records.entry(name.to_owned()).or_default().push(address);
        }
        ControlFlow::Continue(())
    });
    match read {
        Ok(()) => Ok(Some(records)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(line: &str) -> Option<(Address, &str)> {
    let (address, name) = line.split_once(' ')?;
    let name = name.split([' ', '\t']).next()?;
    Some((Address(u64::from_str_radix(address, 16).ok()?), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_of_a_name_is_found_and_others_are_not_kept() {
        let tracefs = tempfile::tempdir().unwrap();
        let list = "\
ffffffff81001004 vfs_read
ffffffff81001204 vfs_write
ffffffff81001284 vfs_write
ffffffffc0123000 demo_entry [demo]
ffffffff81002000 __ftrace_invalid_address___12
";
        std::fs::write(tracefs.path().join("available_filter_functions_addrs"), list).unwrap();
        let wanted = ["vfs_write", "demo_entry"].into();
        let found = records(tracefs.path(), &wanted).unwrap().unwrap();
        let of = |name: &str| found[name].iter().map(|address| address.0).collect::<Vec<_>>();
        assert_eq!(of("vfs_write"), [0xffff_ffff_8100_1204, 0xffff_ffff_8100_1284]);
        assert_eq!(of("demo_entry"), [0xffff_ffff_c012_3000]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_kernel_without_the_list_tells_nothing() {
        let tracefs = tempfile::tempdir().unwrap();
        assert_eq!(records(tracefs.path(), &["vfs_read"].into()).unwrap(), None);
    }
}
