//! The table of kernel symbols, read when the first stack needs it: a run without a break never pays for it.

use std::path::Path;

use crate::kernel::symbol::SymbolTable;

/// The table, once it was needed.
#[derive(Default)]
pub(crate) struct Symbols {
    table: Option<Option<SymbolTable>>,
}

impl Symbols {
    /// `None` where kallsyms cannot be read: stacks are then addresses.
    pub(crate) fn table(&mut self) -> Option<&SymbolTable> {
        self.table
            .get_or_insert_with(|| SymbolTable::load(Path::new("/proc/kallsyms")).ok())
            .as_ref()
            .filter(|table| !table.is_empty())
    }
}
