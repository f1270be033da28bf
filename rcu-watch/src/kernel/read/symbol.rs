//! Kernel symbols, from `/proc/kallsyms`: addresses by name, and names by address.
//!
//! The file has 100,000 to 200,000 lines, so [`FoundSymbols::read`] keeps only what was asked for, and [`SymbolTable`],
//! which resolves stacks, holds text symbols alone, packed, and is read at its first use. Per-CPU symbols are
//! offsets into the per-CPU area before 7.0 and ordinary addresses since; both add to `__per_cpu_offset[cpu]`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::model::kernel::TextRange;
use rcu_watch_core::units::Address;

use crate::kernel::read::line::each_line;

/// One line of kallsyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    /// Hexadecimal digits, which most lines are not read for.
    address: &'a str,
    kind: u8,
    name: &'a str,
    module: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// `ffffffff968356d0 T arch_cpu_idle` or `ffffffffc0123000 t foo\t[module]`, with 16 digits on every 64-bit
    /// kernel (kernel/kallsyms.c:s_show).
    fn parse(line: &'a str) -> Option<Self> {
        let (address, rest) = line.split_at_checked(16)?;
        let &[b' ', kind, b' ', ..] = rest.as_bytes() else { return None };
        let rest = rest.get(3..)?;
        let (name, module) = match rest.strip_suffix(']').and_then(|rest| rest.split_once("\t[")) {
            Some((name, module)) => (name, Some(module)),
            None => (rest, None),
        };
        Some(Self { address, kind, name, module })
    }

    fn address(&self) -> Option<u64> {
        u64::from_str_radix(self.address, 16).ok()
    }

    fn is_at_zero(&self) -> bool {
        self.address.bytes().all(|digit| digit == b'0')
    }

    const fn is_text(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W')
    }
}

/// A symbol as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// 0 where the kernel hides addresses.
    pub address: u64,
    pub is_text: bool,
    pub name: &'a str,
    pub module: Option<&'a str>,
}

/// Calls `symbol` with all of the kernel's symbols, in its order.
///
/// # Errors
/// That of the read.
pub(crate) fn each_symbol(source: impl Read, mut symbol: impl FnMut(Listed<'_>)) -> io::Result<()> {
    each_line(source, |text| {
        if let Some(line) = Line::parse(text)
            && let Some(address) = line.address()
        {
            let Line { name, module, .. } = line;
            symbol(Listed { address, is_text: line.is_text(), name, module });
        }
        ControlFlow::Continue(())
    })
}

/// What kallsyms says of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// Of the first symbol of this name; 0 where the kernel hides addresses.
    pub address: u64,
    /// Where a function ends: at the next one, which kallsyms has in order of address.
    pub end: Option<u64>,
    /// In a module, not in the kernel image.
    pub module: Option<String>,
    /// Functions of this name. A probe by name can only be sure of its site where there is one.
    pub functions: u32,
}

/// The symbols that were asked for, as far as this kernel has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundSymbols {
    pub symbols: BTreeMap<String, Symbol>,
    /// Every address that was read is 0: `kptr_restrict`, or no CAP_SYSLOG.
    pub hidden: bool,
}

impl FoundSymbols {
    /// Picks the symbols that `is_wanted` out of `source`, in one pass.
    ///
    /// # Errors
    /// That of the read.
    pub fn read(source: impl Read, is_wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut found = Self { symbols: BTreeMap::new(), hidden: true };
        let mut open = Vec::new();
        each_line(source, |text| {
            if let Some(line) = Line::parse(text) {
                // A per-CPU symbol may rightly be at 0; text never is.
                found.hidden = found.hidden && (!line.is_text() || line.is_at_zero());
                if !open.is_empty() && line.is_text() {
                    found.end(&mut open, line);
                }
                if is_wanted(line.name) && found.add(line) {
                    open.push(line.name.to_owned());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Whether it is a function that was not known before.
    fn add(&mut self, line: Line<'_>) -> bool {
        let functions = u32::from(line.is_text());
        if let Some(symbol) = self.symbols.get_mut(line.name) {
            symbol.functions += functions;
            return false;
        }
        let Some(address) = line.address() else { return false };
        let symbol = Symbol { address, end: None, module: line.module.map(str::to_owned), functions };
        self.symbols.insert(line.name.to_owned(), symbol);
        functions > 0
    }

    /// The functions that are `open` end where this one starts, but for those that it is another name of.
    fn end(&mut self, open: &mut Vec<String>, line: Line<'_>) {
        let Some(end) = line.address() else { return };
        open.retain(|name| match self.symbols.get_mut(name) {
            Some(symbol) if symbol.address == end => true,
            Some(symbol) => {
                symbol.end = (symbol.address < end).then_some(end);
                false
            }
            None => false,
        });
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.symbols.contains_key(name)
    }

    /// The address of `name`, if the kernel has it and shows it.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        if self.hidden { None } else { self.symbols.get(name).map(|symbol| symbol.address) }
    }
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved<'a> {
    pub name: &'a str,
    pub offset: u64,
    pub module: Option<&'a str>,
}

impl std::fmt::Display for Resolved<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        match self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// Function beyond whose start an address is taken for a hole between symbols.
const FUNCTION_BYTES_MAX: u64 = 1 << 20;

/// All text symbols, sorted by address; names packed one after another.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    /// Address, start of the name in `names`, index into `modules` (0: the kernel image).
    entries: Vec<(u64, u32, u16)>,
    names: String,
    modules: Vec<String>,
}

impl SymbolTable {
    /// Reads the running kernel's table.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(crate) fn load(kallsyms: &Path) -> io::Result<Self> {
        Self::read(File::open(kallsyms)?)
    }

    /// # Errors
    /// That of the read.
    pub(crate) fn read(source: impl Read) -> io::Result<Self> {
        let mut table = Self::default();
        each_line(source, |text| {
            if let Some(line) = Line::parse(text)
                && line.is_text()
                && let Some(address) = line.address()
                && address != 0
            {
                table.add(address, line);
            }
            ControlFlow::Continue(())
        })?;
        // Stable: of several names for one address the first in the kernel's order stays first, but for the
        // kernel's generated code ([bpf], [__builtin__ftrace]), which may lie where a module's init code was.
        let is_generated = |module: u16| {
            let name = usize::from(module).checked_sub(1).map(|index| table.modules[index].as_str());
            name.is_some_and(|name| name == "bpf" || name.starts_with("__builtin__"))
        };
        table.entries.sort_by_key(|&(address, _, module)| (address, !is_generated(module)));
        table.entries.shrink_to_fit();
        table.names.shrink_to_fit();
        Ok(table)
    }

    fn add(&mut self, address: u64, line: Line<'_>) {
        let Ok(start) = u32::try_from(self.names.len()) else { return };
        let module = match line.module {
            None => 0,
            Some(name) => match self.modules.iter().rposition(|known| known == name) {
                Some(index) => index + 1,
                None => {
                    self.modules.push(name.to_owned());
                    self.modules.len()
                }
            },
        };
        self.names.push_str(line.name);
        self.names.push('\0');
        self.entries.push((address, start, u16::try_from(module).unwrap_or(0)));
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The function that `address` lies in.
    #[must_use]
    pub(crate) fn resolve(&self, address: u64) -> Option<Resolved<'_>> {
        let end = self.entries.partition_point(|&(start, ..)| start <= address);
        let start = self.entries[..end].last()?.0;
        let first = self.entries[..end].partition_point(|&(other, ..)| other < start);
        let (_, name, module) = self.entries[first];
        let offset = address - start;
        (offset < FUNCTION_BYTES_MAX).then(|| Resolved {
            name: self.name(name),
            offset,
            module: usize::from(module).checked_sub(1).map(|index| self.modules[index].as_str()),
        })
    }

    /// The functions of the kernel image, in order of address, each up to where another one starts. Several
    /// names of one address come one after another.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (&str, TextRange)> {
        let mut rest = self.entries.as_slice();
        std::iter::from_fn(move || {
            loop {
                let (&(start, name, module), after) = rest.split_first()?;
                rest = after;
                let end = after.iter().map(|&(next, ..)| next).find(|&next| next > start);
                if let (0, Some(end)) = (module, end) {
                    return Some((self.name(name), TextRange { start: Address(start), end: Address(end) }));
                }
            }
        })
    }

    /// The functions of each name, in order of address: where they start, and their modules.
    pub(crate) fn by_name(&self) -> HashMap<&str, Vec<(u64, Option<&str>)>> {
        let mut all: HashMap<&str, Vec<_>> = HashMap::with_capacity(self.entries.len());
        for &(address, name, module) in &self.entries {
            let module = usize::from(module).checked_sub(1).map(|index| self.modules[index].as_str());
            all.entry(self.name(name)).or_default().push((address, module));
        }
        all
    }

    fn name(&self, start: u32) -> &str {
        let rest = &self.names[start as usize..];
        rest.split_once('\0').map_or(rest, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
000000000001fb80 A __preempt_count
ffffffff968356d0 T arch_cpu_idle
ffffffff96835700 t default_idle_alias
ffffffff96835700 T default_idle
ffffffff96865430 T __fentry__
ffffffff96870000 t show
ffffffff96880000 t show
ffffffff97985940 D __per_cpu_offset
ffffffffc0123000 t patched_idle\t[livepatch_idle]
";

    fn wanted(names: &[&str]) -> FoundSymbols {
        FoundSymbols::read(KALLSYMS.as_bytes(), |name| names.contains(&name)).unwrap()
    }

    #[test]
    fn wanted_symbols_are_found_and_others_are_not_kept() {
        let wanted = wanted(&["__preempt_count", "__per_cpu_offset", "ist_enter"]);
        assert_eq!(wanted.address("__preempt_count"), Some(0x1fb80));
        assert_eq!(wanted.address("__per_cpu_offset"), Some(0xffff_ffff_9798_5940));
        assert!(!wanted.has("ist_enter"));
        assert!(!wanted.has("arch_cpu_idle"));
    }

    #[test]
    fn functions_of_one_name_are_counted() {
        assert_eq!(wanted(&["show"]).symbols["show"].functions, 2);
    }

    #[test]
    fn a_function_ends_where_the_next_one_starts_by_whatever_name() {
        let wanted = wanted(&["default_idle", "default_idle_alias", "patched_idle", "__per_cpu_offset"]);
        let end = |name: &str| wanted.symbols[name].end;
        assert_eq!(end("default_idle"), Some(0xffff_ffff_9686_5430));
        assert_eq!(end("default_idle_alias"), Some(0xffff_ffff_9686_5430));
        assert_eq!((end("patched_idle"), end("__per_cpu_offset")), (None, None));
    }

    #[test]
    fn hidden_addresses_are_no_addresses() {
        let hidden = "0000000000000000 A __preempt_count\n0000000000000000 T arch_cpu_idle\n";
        let wanted = FoundSymbols::read(hidden.as_bytes(), |_| true).unwrap();
        assert!(wanted.hidden);
        assert!(wanted.has("arch_cpu_idle"));
        assert_eq!(wanted.address("arch_cpu_idle"), None);
    }

    #[test]
    fn a_per_cpu_symbol_at_zero_does_not_mean_hidden() {
        let text = "0000000000000000 A fixed_percpu_data\nffffffff968356d0 T arch_cpu_idle\n";
        let wanted = FoundSymbols::read(text.as_bytes(), |_| true).unwrap();
        assert_eq!(wanted.address("fixed_percpu_data"), Some(0));
    }

    #[test]
    fn addresses_resolve_to_the_function_they_lie_in() {
        let table = SymbolTable::read(KALLSYMS.as_bytes()).unwrap();
        assert_eq!(table.resolve(0xffff_ffff_9683_56d5).unwrap().to_string(), "arch_cpu_idle+0x5");
        assert_eq!(table.resolve(0xffff_ffff_9683_5700).unwrap().name, "default_idle_alias");
        assert_eq!(
            table.resolve(0xffff_ffff_c012_3010).unwrap().to_string(),
            "patched_idle+0x10 [livepatch_idle]"
        );
        assert_eq!(table.resolve(0xffff_ffff_8000_0000), None);
        assert_eq!(table.resolve(0xffff_ffff_d000_0000), None);
    }

    #[test]
    fn functions_of_one_name_are_told_apart_by_address_and_module() {
        let text = format!("{KALLSYMS}ffffffffc0123100 t show\t[livepatch_idle]\n");
        let table = SymbolTable::read(text.as_bytes()).unwrap();
        let expected = [
            (0xffff_ffff_9687_0000, None),
            (0xffff_ffff_9688_0000, None),
            (0xffff_ffff_c012_3100, Some("livepatch_idle")),
        ];
        assert_eq!(table.by_name()["show"], expected);
    }

    #[test]
    fn generated_code_has_the_place_that_a_modules_init_code_left() {
        let text = "\
ffffffffc02b5000 t lab_arch_cpu_idle\t[lab_livepatch_idle]
ffffffffc02b6000 t lab_livepatch_idle_init\t[lab_livepatch_idle]
ffffffffc02b6000 t bpf_trampoline_6442506029\t[bpf]
";
        let table = SymbolTable::read(text.as_bytes()).unwrap();
        assert_eq!(
            table.resolve(0xffff_ffff_c02b_6039).unwrap().to_string(),
            "bpf_trampoline_6442506029+0x39 [bpf]"
        );
    }
}
