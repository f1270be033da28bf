//! Which function it is: several may have one name (static ones, `.isra` and `.constprop` twins), and a handler is
//! never put on one of them by its name alone.

use std::collections::HashMap;

use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::units::Address;

use crate::kernel::read::symbol::SymbolTable;

/// A function of this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub name: &'a str,
    pub module: Option<&'a str>,
    /// Where it starts, if that is known.
    pub address: Option<u64>,
    /// Which one of its name in its object, from 1, where there are several and it is known.
    pub sympos: Option<u32>,
}

impl Function<'_> {
    pub(super) fn put(&self, on: &mut HandlerReport) {
        on.function = Some(self.name.to_owned());
        on.module = self.module.map(str::to_owned);
        on.address = self.address.map(Address);
        on.sympos = self.sympos;
    }
}

/// The kernel's functions by name and by address; nothing is found where they could not be read.
#[derive(Debug, Default)]
pub(super) struct Functions<'a> {
    table: Option<&'a SymbolTable>,
    by_name: HashMap<&'a str, Vec<(u64, Option<&'a str>)>>,
}

impl<'a> Functions<'a> {
    pub(super) fn new(table: Option<&'a SymbolTable>) -> Self {
        Self { table, by_name: table.map(SymbolTable::by_name).unwrap_or_default() }
    }

    /// Those of this name in one object, by address.
    fn named(&self, name: &str, module: Option<&str>) -> impl Iterator<Item = u64> {
        let all = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |(_, of)| *of == module).map(|&(address, _)| address)
    }

    /// The module of a function that only one object has.
    pub(super) fn module_of(&self, name: &str) -> Option<&'a str> {
        match self.by_name.get(name).map(Vec::as_slice) {
            Some([(_, module)]) => *module,
            _ => None,
        }
    }

    /// The function of this name, where its object has only one.
    pub(super) fn only(&self, name: &'a str, module: Option<&'a str>) -> Function<'a> {
        let mut all = self.named(name, module);
        let address = all.next().filter(|_| all.next().is_none());
        Function { name, module, address, sympos: None }
    }

    /// One of the functions of this name, as a livepatch's `sympos` counts them from 1.
    pub(super) fn nth(&self, name: &'a str, module: Option<&'a str>, sympos: u32) -> Function<'a> {
        let only = self.only(name, module);
        if only.address.is_some() || self.named(name, module).next().is_none() {
            return only;
        }
        // A module's functions stand in the order of its symbol table, which is not that of the addresses.
        let index = (sympos as usize).saturating_sub(1);
        let address = if module.is_none() { self.named(name, module).nth(index) } else { None };
        Function { sympos: Some(sympos), address, ..only }
    }

    /// The function of this name that starts here.
    pub(super) fn starting_at(&self, name: &'a str, module: Option<&'a str>, start: u64) -> Function<'a> {
        let mut all = self.named(name, module);
        let index = all.position(|address| address == start);
        let is_one_of_several = self.named(name, module).nth(1).is_some();
        let sympos = index
            .filter(|_| is_one_of_several && module.is_none())
            .and_then(|index| u32::try_from(index + 1).ok());
        Function { name, module, address: Some(start), sympos }
    }

    /// The function that this address lies in, and how far.
    pub(super) fn at(&self, address: u64) -> Option<(Function<'a>, u64)> {
        let found = self.table?.resolve(address)?;
        Some((self.starting_at(found.name, found.module, address - found.offset), found.offset))
    }

    /// Where `symbol+offset` lies, as the kernel takes it that was given only that: the first function of the name.
    pub(super) fn address(&self, symbol: &str, module: Option<&str>, offset: u64) -> Option<u64> {
        self.named(symbol, module).next().map(|start| start.wrapping_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff96800000 T _text
ffffffff96870000 t show
ffffffff96880000 t show
ffffffff96890000 t work.isra.0
ffffffffc0123000 t show\t[demo]
ffffffffc0124000 t twice\t[demo]
ffffffffc0125000 t twice\t[demo]
";

    #[test]
    fn a_name_that_several_functions_have_is_no_place() {
        let table = SymbolTable::read(KALLSYMS.as_bytes()).unwrap();
        let functions = Functions::new(Some(&table));
        assert_eq!(functions.only("show", None).address, None);
        assert_eq!(functions.only("show", Some("demo")).address, Some(0xffff_ffff_c012_3000));
        assert_eq!(functions.only("work.isra.0", None).address, Some(0xffff_ffff_9689_0000));
        assert_eq!(functions.only("work", None).address, None);
    }

    #[test]
    fn a_livepatchs_number_counts_the_functions_of_the_kernel_image_by_address() {
        let table = SymbolTable::read(KALLSYMS.as_bytes()).unwrap();
        let functions = Functions::new(Some(&table));
        let second = functions.nth("show", None, 2);
        assert_eq!((second.address, second.sympos), (Some(0xffff_ffff_9688_0000), Some(2)));
        assert_eq!(functions.nth("show", None, 3).address, None);
        // Not told for modules, and not needed where there is one.
        assert_eq!(functions.nth("twice", Some("demo"), 1).address, None);
        assert_eq!(functions.nth("work.isra.0", None, 1).sympos, None);
    }

    #[test]
    fn an_address_tells_which_of_several_it_is() {
        let table = SymbolTable::read(KALLSYMS.as_bytes()).unwrap();
        let functions = Functions::new(Some(&table));
        let (function, offset) = functions.at(0xffff_ffff_9688_0004).unwrap();
        assert_eq!((function.name, function.sympos, offset), ("show", Some(2), 4));
        let (function, _) = functions.at(0xffff_ffff_c012_3000).unwrap();
        assert_eq!((function.module, function.sympos), (Some("demo"), None));
        assert_eq!(functions.address("_text", None, 0x9_0000), Some(0xffff_ffff_9689_0000));
        assert_eq!(Functions::default().at(1), None);
    }
}
