//! Which functions a livepatch changes, from its module file, before anybody loads it.
//!
//! The file is relocatable: its tables hold zeros, and relocations say what will be there. Three builders write
//! them in two shapes. Source modules (samples/livepatch) and klp-build have arrays of functions (old_name at 0,
//! new_func at 8) behind arrays of objects (name at 0, funcs at 8); the size of an element differs between
//! kernels and is taken from the distance of the first two. kpatch-build has a section of its own.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationKind, RelocationTarget,
    SectionFlags,
};

/// One function that a patch replaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PatchedFunction {
    /// `vmlinux`, or the module that it is in.
    pub object: String,
    pub function: String,
    /// Which of those of its name, from 1; 0: the only one.
    pub sympos: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PatchError {
    #[error("it is compressed; decompress it first: {0} < FILE > patch.ko")]
    Compressed(&'static str),
    #[error("it is no kernel module for a 64-bit little-endian machine: {0}")]
    NotElf(#[from] object::read::Error),
    #[error("it is a kernel module and no livepatch: its modinfo has no `livepatch=Y`")]
    NotLivepatch,
    #[error("it is a livepatch whose functions are in no table that rcu-watch knows; name them by hand")]
    NoTable,
}

/// A pointer field, or what it will point to: a section's index, and an offset.
type Place = (usize, u64);

/// `struct kpatch_patch_func` (kpatch's kmod/patch/kpatch-patch.h): three of its fields, and its size.
const KPATCH_SYMPOS: u64 = 32;
const KPATCH_NAME: u64 = 40;
const KPATCH_OBJECT: u64 = 48;
const KPATCH_BYTES: u64 = 56;

/// A livepatch, as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// The module's name, where its modinfo has it.
    pub name: Option<String>,
    /// Sorted.
    pub functions: Vec<PatchedFunction>,
}

/// Reads the livepatch in `file`.
///
/// # Errors
/// Where it is none, or none that is known.
pub(crate) fn read(file: &[u8]) -> Result<Patch, PatchError> {
    const MAGICS: [(&[u8], &str); 3] =
        [(b"\xfd7zXZ", "xz -dc"), (b"\x1f\x8b", "gzip -dc"), (b"\x28\xb5\x2f\xfd", "zstd -dc")];
    if let Some((_, command)) = MAGICS.iter().find(|(magic, _)| file.starts_with(magic)) {
        return Err(PatchError::Compressed(command));
    }
    let elf = ElfFile64::<LittleEndian>::parse(file)?;
    let modinfo = elf.section_by_name(".modinfo").and_then(|section| section.data().ok()).unwrap_or_default();
    let mut entries = modinfo.split(|&byte| byte == 0);
    if !entries.clone().any(|entry| entry == b"livepatch=Y") {
        return Err(PatchError::NotLivepatch);
    }
    let name = entries.find_map(|entry| String::from_utf8(entry.strip_prefix(b"name=")?.to_vec()).ok());
    let tables = Tables::read(&elf);
    let mut found = tables.of_kpatch(&elf);
    found.extend(tables.of_objects());
    if found.is_empty() {
        return Err(PatchError::NoTable);
    }
    Ok(Patch { name, functions: found.into_iter().collect() })
}

/// What the pointers of a module's data will point to.
struct Tables<'a> {
    pointers: BTreeMap<Place, Place>,
    data: BTreeMap<usize, &'a [u8]>,
    code: BTreeSet<usize>,
    /// Ends of variables, where the file still has symbols.
    ends: BTreeMap<Place, u64>,
}

impl<'a> Tables<'a> {
    fn read(elf: &ElfFile64<'a, LittleEndian>) -> Self {
        let mut tables = Self {
            pointers: BTreeMap::new(),
            data: BTreeMap::new(),
            code: BTreeSet::new(),
            ends: BTreeMap::new(),
        };
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(object::elf::SHF_ALLOC) == 0 {
                continue;
            }
            if sh_flags & u64::from(object::elf::SHF_EXECINSTR) != 0 {
                tables.code.insert(section.index().0);
                continue;
            }
            tables.data.insert(section.index().0, section.data().unwrap_or_default());
            for (offset, relocation) in section.relocations() {
                if (relocation.kind(), relocation.size()) != (RelocationKind::Absolute, 64) {
                    continue;
                }
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let Ok(symbol) = elf.symbol_by_index(symbol) else { continue };
                let Some(target) = symbol.section_index() else { continue };
                let at = symbol.address().wrapping_add_signed(relocation.addend());
                tables.pointers.insert((section.index().0, offset), (target.0, at));
            }
        }
        for symbol in elf.symbols().filter(|symbol| symbol.size() > 0) {
            if let Some(section) = symbol.section_index() {
                tables.ends.insert((section.0, symbol.address()), symbol.address() + symbol.size());
            }
        }
        tables
    }

    /// The name that the pointer at this place will point to.
    fn name(&self, (section, offset): Place) -> Option<String> {
        let &(target, at) = self.pointers.get(&(section, offset))?;
        let bytes = self.data.get(&target)?.get(usize::try_from(at).ok()?..)?;
        let name = std::str::from_utf8(bytes.split(|&byte| byte == 0).next()?).ok()?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '$');
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    }

    /// Whether a function's entry begins here: a name, then code. Its position among those of its name comes next.
    fn function(&self, (section, offset): Place) -> Option<(String, u64)> {
        let &(target, _) = self.pointers.get(&(section, offset.checked_add(8)?))?;
        if !self.code.contains(&target) {
            return None;
        }
        Some((self.name((section, offset))?, self.number((section, offset.checked_add(16)?))))
    }

    /// The number at this place; 0 where there is none.
    fn number(&self, (section, offset): Place) -> u64 {
        let bytes = || {
            let start = usize::try_from(offset).ok()?;
            self.data.get(&section)?.get(start..start.checked_add(8)?)?.try_into().ok()
        };
        bytes().map_or(0, u64::from_le_bytes)
    }

    /// By `klp_object` and `klp_func`, or klp-build's `klp_object_ext` and `klp_func_ext`.
    fn of_objects(&self) -> BTreeSet<PatchedFunction> {
        let mut found = BTreeSet::new();
        for (&(section, offset), &funcs) in &self.pointers {
            // `funcs` is an object's second member; the first is a name, or null for vmlinux.
            let Some(base) = offset.checked_sub(8) else { continue };
            if self.function(funcs).is_none() {
                continue;
            }
            let object = match self.name((section, base)) {
                Some(object) => object,
                None if self.pointers.contains_key(&(section, base)) => continue,
                None => "vmlinux".to_owned(),
            };
            for (function, sympos) in self.array(funcs) {
                found.insert(PatchedFunction { object: object.clone(), function, sympos });
            }
        }
        found
    }

    /// The functions of an array, as far as the file shows that it goes.
    fn array(&self, (section, start): Place) -> Vec<(String, u64)> {
        let end = self.ends.get(&(section, start)).copied().unwrap_or(u64::MAX);
        let is_other = |at: u64| self.pointers.values().any(|&target| target == (section, at));
        let mut places = self
            .pointers
            .range((section, start + 1)..(section, end))
            .map(|(&(_, offset), _)| offset)
            .take_while(|&offset| !is_other(offset));
        // An element holds nothing else that is a name and then code.
        let next = places.find(|&offset| self.function((section, offset)).is_some());
        let Some(bytes) = next.map(|next| next - start) else {
            return self.function((section, start)).into_iter().collect();
        };
        (0..)
            .map(|index| start + index * bytes)
            .take_while(|&at| at < end && (at == start || !is_other(at)))
            .map_while(|at| self.function((section, at)))
            .collect()
    }

    fn of_kpatch(&self, elf: &ElfFile64<'a, LittleEndian>) -> BTreeSet<PatchedFunction> {
        let Some(section) = elf.section_by_name(".kpatch.funcs") else { return BTreeSet::new() };
        (0..section.size() / KPATCH_BYTES)
            .filter_map(|index| {
                let place = |field| (section.index().0, index * KPATCH_BYTES + field);
                let object = self.name(place(KPATCH_OBJECT)).unwrap_or_else(|| "vmlinux".to_owned());
                let sympos = self.number(place(KPATCH_SYMPOS));
                Some(PatchedFunction { object, function: self.name(place(KPATCH_NAME))?, sympos })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use object::write::{Object, Relocation, SectionId, StandardSection, Symbol, SymbolId, SymbolSection};
    use object::{
        Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
        SymbolScope,
    };

    use super::*;

    /// A module as the kernel's build leaves one: every pointer is a relocation against a section.
    struct Module {
        elf: Object<'static>,
        data: SectionId,
        strings: SectionId,
        text: SectionId,
    }

    impl Module {
        fn new(modinfo: &str) -> Self {
            let mut elf = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
            let info = elf.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
            elf.append_section_data(info, modinfo.as_bytes(), 1);
            let data = elf.section_id(StandardSection::Data);
            let strings =
                elf.add_section(Vec::new(), b".rodata.str1.1".to_vec(), SectionKind::ReadOnlyString);
            let text = elf.section_id(StandardSection::Text);
            elf.append_section_data(text, &[0xc3; 64], 16);
            elf.append_section_data(data, &[0; 0x800], 32);
            Self { elf, data, strings, text }
        }

        fn point(&mut self, from: SectionId, offset: u64, to: SectionId, at: u64) {
            let symbol: SymbolId = self.elf.section_symbol(to);
            let flags = RelocationFlags::Elf { r_type: object::elf::R_X86_64_64 };
            let relocation = Relocation { offset, symbol, addend: at.cast_signed(), flags };
            self.elf.add_relocation(from, relocation).unwrap();
        }

        fn name(&mut self, from: SectionId, offset: u64, name: &str) {
            let at = self.elf.append_section_data(self.strings, format!("{name}\0").as_bytes(), 1);
            self.point(from, offset, self.strings, at);
        }

        fn function(&mut self, offset: u64, name: &str) {
            self.name(self.data, offset, name);
            self.point(self.data, offset + 8, self.text, 16);
        }

        fn set(&mut self, at: SectionId, offset: usize, value: u64) {
            let data = self.elf.section_mut(at).data_mut();
            data[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }

        fn variable(&mut self, value: u64, size: u64) {
            self.elf.add_symbol(Symbol {
                name: b"funcs".to_vec(),
                value,
                size,
                kind: SymbolKind::Data,
                scope: SymbolScope::Compilation,
                weak: false,
                section: SymbolSection::Section(self.data),
                flags: SymbolFlags::None,
            });
        }

        fn functions(&self) -> Result<Vec<(String, String)>, PatchError> {
            let found = read(&self.elf.write().unwrap())?.functions;
            Ok(found.into_iter().map(|found| (found.object, found.function)).collect())
        }
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(object, function)| ((*object).to_owned(), (*function).to_owned())).collect()
    }

    #[test]
    fn functions_are_found_behind_their_objects_whatever_an_element_measures() {
        for (object_bytes, func_bytes) in [(168, 152), (152, 136)] {
            let mut module = Module::new("license=GPL\0livepatch=Y\0");
            let data = module.data;
            // objs at 0x100: vmlinux, then ext4, then the end; their functions at 0x300 and 0x600.
            module.point(data, 8, data, 0x100);
            module.point(data, 0x108, data, 0x300);
            module.name(data, 0x100 + object_bytes, "ext4");
            module.point(data, 0x108 + object_bytes, data, 0x600);
            module.function(0x300, "arch_cpu_idle");
            module.function(0x300 + func_bytes, "cmdline_proc_show");
            module.function(0x600, "ext4_sync_file");
            assert_eq!(
                module.functions().unwrap(),
                pairs(&[
                    ("ext4", "ext4_sync_file"),
                    ("vmlinux", "arch_cpu_idle"),
                    ("vmlinux", "cmdline_proc_show")
                ])
            );
        }
    }

    #[test]
    fn a_function_says_which_of_its_name_it_means_and_a_module_what_it_is_called() {
        let mut module = Module::new("livepatch=Y\0name=fix\0");
        let data = module.data;
        module.point(data, 0x108, data, 0x300);
        module.function(0x300, "show");
        module.set(data, 0x310, 2);
        let patch = read(&module.elf.write().unwrap()).unwrap();
        assert_eq!((patch.name.as_deref(), patch.functions[0].sympos), (Some("fix"), 2));
    }

    #[test]
    fn a_table_of_something_else_behind_the_array_is_no_part_of_it() {
        let mut module = Module::new("livepatch=Y\0");
        let data = module.data;
        module.point(data, 0x108, data, 0x300);
        module.function(0x300, "arch_cpu_idle");
        module.variable(0x300, 304);
        // A name and code, as in a table of commands.
        module.function(0x300 + 304, "not_a_function");
        assert_eq!(module.functions().unwrap(), pairs(&[("vmlinux", "arch_cpu_idle")]));
    }

    #[test]
    fn kpatchs_own_section_is_read() {
        let mut module = Module::new("livepatch=Y\0");
        let section = module.elf.add_section(Vec::new(), b".kpatch.funcs".to_vec(), SectionKind::Data);
        module.elf.append_section_data(section, &[0; 112], 8);
        for (index, (object, function)) in
            [("vmlinux", "meminfo_proc_show"), ("xfs", "xfs_log_force")].iter().enumerate()
        {
            let at = index as u64 * 56;
            let text = module.text;
            module.point(section, at, text, 16);
            module.name(section, at + 40, function);
            module.name(section, at + 48, object);
        }
        assert_eq!(
            module.functions().unwrap(),
            pairs(&[("vmlinux", "meminfo_proc_show"), ("xfs", "xfs_log_force")])
        );
    }

    #[test]
    fn what_is_no_livepatch_is_refused_with_what_it_is() {
        assert!(matches!(Module::new("license=GPL\0").functions(), Err(PatchError::NotLivepatch)));
        assert!(matches!(Module::new("livepatch=Y\0").functions(), Err(PatchError::NoTable)));
        assert!(matches!(read(b"\xfd7zXZ\0"), Err(PatchError::Compressed("xz -dc"))));
        assert!(matches!(read(b"#!/bin/sh\n"), Err(PatchError::NotElf(_))));
        assert!(matches!(read(b""), Err(PatchError::NotElf(_))));
    }
}
