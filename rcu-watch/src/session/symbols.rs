//! The table of kernel symbols, read when the first stack needs it: a run without a break never pays for it.
//!
//! Programs are loaded, and trampolines made, after that. Their code would be taken for that of their neighbours, so a
//! frame outside the kernel image is looked up in a table that is not older than the last change.

use std::path::{Path, PathBuf};

use rcu_watch_core::units::Address;

use crate::kernel::symbol::SymbolTable;

/// The table, once it was needed.
pub(crate) struct Symbols {
    kallsyms: PathBuf,
    table: Option<Option<SymbolTable>>,
    /// Programs came or went since it was read.
    is_old: bool,
}

impl Default for Symbols {
    fn default() -> Self {
        Self::of(Path::new("/proc/kallsyms"))
    }
}

impl Symbols {
    fn of(kallsyms: &Path) -> Self {
        Self { kallsyms: kallsyms.to_owned(), table: None, is_old: false }
    }

    /// `None` where kallsyms cannot be read: stacks are then addresses.
    pub(crate) fn table(&mut self) -> Option<&SymbolTable> {
        let Self { kallsyms, table, .. } = self;
        table
            .get_or_insert_with(|| SymbolTable::load(kallsyms).ok())
            .as_ref()
            .filter(|table| !table.is_empty())
    }

    /// Programs came or went, ours or others.
    pub(crate) fn outdate(&mut self) {
        self.is_old = self.table.is_some();
    }

    /// `function+0x1c [module]`
    pub(crate) fn name(&mut self, address: Address) -> Option<String> {
        let is_old = self.is_old;
        let place = self.table()?.resolve(address.0);
        // The kernel image stays where it is.
        if is_old && place.is_none_or(|place| place.module.is_some()) {
            self.table = None;
            self.is_old = false;
        }
        self.table()?.resolve(address.0).map(|place| place.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BEFORE: &str = "\
ffffffff968356d0 T arch_cpu_idle
ffffffffc0100000 t bpf_prog_1_find_block\t[bpf]
";
    const LOADED: &str = "ffffffffc0107000 t bpf_prog_2_rcuw_fentry_00\t[bpf]\n";
    const OURS: Address = Address(0xffff_ffff_c010_7500);

    #[test]
    fn code_that_was_made_later_is_not_its_neighbours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kallsyms");
        fs::write(&path, BEFORE).unwrap();
        let mut symbols = Symbols::of(&path);
        assert!(symbols.table().is_some());
        fs::write(&path, format!("{BEFORE}{LOADED}")).unwrap();
        symbols.outdate();
        assert_eq!(symbols.name(OURS).unwrap(), "bpf_prog_2_rcuw_fentry_00+0x500 [bpf]");
        // Read once for a change.
        fs::remove_file(&path).unwrap();
        assert_eq!(symbols.name(OURS).unwrap(), "bpf_prog_2_rcuw_fentry_00+0x500 [bpf]");
    }

    #[test]
    fn the_kernel_image_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kallsyms");
        fs::write(&path, BEFORE).unwrap();
        let mut symbols = Symbols::of(&path);
        assert!(symbols.table().is_some());
        symbols.outdate();
        fs::remove_file(&path).unwrap();
        assert_eq!(symbols.name(Address(0xffff_ffff_9683_56d4)).unwrap(), "arch_cpu_idle+0x4");
    }
}
