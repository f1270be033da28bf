//! Which functions a livepatch changes, from its module file, before anybody loads it.
//!
//! The file is relocatable: its tables hold zeros, and relocations say what will be there. Three builders write
//! them in two shapes. Source modules (samples/livepatch) and klp-build have arrays of functions (old_name at 0,
//! new_func at 8) behind arrays of objects (name at 0, funcs at 8); the size of an element differs between
//! kernels and is taken from the distance of the first two. kpatch-build has a section of its own.
//!
//! The file is whoever's: no number in it is believed beyond the bytes that are there, and what a module of this kind
//! never has so many of is refused, so that no file takes longer than its length explains.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object as _, ObjectSection, ObjectSymbol as _, RelocationKind, RelocationTarget,
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
    #[error("it is no kernel module for a 64-bit little-endian machine: {0}")]
    NotElf(#[from] object::read::Error),
    #[error("it is a kernel module and no livepatch: its modinfo has no `livepatch=Y`")]
    NotLivepatch,
    #[error("it is a livepatch whose functions are in no table that rcu-watch knows; name them by hand")]
    NoTable,
    #[error("its section {0} is not in the file; it is cut off or damaged, build it again")]
    Beyond(String),
    #[error("its symbols reach beyond the last address there can be; it is damaged, build it again")]
    Wraps,
    #[error("it has more than {0} {1}, and no livepatch has; name the functions by hand")]
    TooMany(usize, &'static str),
}

/// Pointers in the data of a module. The largest of the kernel's own have a tenth of it.
const POINTERS_MAX: usize = 500_000;
/// Entries of functions, those counted again that two arrays share. Livepatches that replace all before them have
/// some hundred.
const FUNCTIONS_MAX: usize = 10_000;
/// `KSYM_NAME_LEN` (include/linux/kallsyms.h), which was 128 up to 6.0: nothing that can be patched has a longer name.
const NAME_MAX: usize = 512;

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
    let elf = ElfFile64::<LittleEndian>::parse(file)?;
    let modinfo = match elf.section_by_name(".modinfo") {
        Some(section) => section.data().map_err(|_| PatchError::Beyond(".modinfo".to_owned()))?,
        None => &[],
    };
    let mut entries = modinfo.split(|&byte| byte == 0);
    if !entries.clone().any(|entry| entry == b"livepatch=Y") {
        return Err(PatchError::NotLivepatch);
    }
    let name = entries.find_map(|entry| String::from_utf8(entry.strip_prefix(b"name=")?.to_vec()).ok());
    let tables = Tables::read(&elf)?;
    let mut found = tables.of_kpatch(&elf)?;
    found.extend(tables.of_objects()?);
    if found.is_empty() {
        return Err(PatchError::NoTable);
    }
    Ok(Patch { name, functions: found.into_iter().collect() })
}

/// What the pointers of a module's data will point to.
struct Tables<'a> {
    pointers: BTreeMap<Place, Place>,
    /// What any of them points to.
    targets: BTreeSet<Place>,
    data: BTreeMap<usize, &'a [u8]>,
    code: BTreeSet<usize>,
    /// Ends of variables, where the file still has symbols.
    ends: BTreeMap<Place, u64>,
}

impl<'a> Tables<'a> {
    fn read(elf: &ElfFile64<'a, LittleEndian>) -> Result<Self, PatchError> {
        let mut tables = Self {
            pointers: BTreeMap::new(),
            targets: BTreeSet::new(),
            data: BTreeMap::new(),
            code: BTreeSet::new(),
            ends: BTreeMap::new(),
        };
        let mut read = 0;
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(object::elf::SHF_ALLOC) == 0 {
                continue;
            }
            if sh_flags & u64::from(object::elf::SHF_EXECINSTR) != 0 {
                tables.code.insert(section.index().0);
                continue;
            }
            tables.data.insert(section.index().0, section.data().map_err(|_| beyond(&section))?);
            for (offset, relocation) in section.relocations() {
                // Sections may share the bytes of their relocations: the file's length says nothing of their number.
                read += 1;
                if read > POINTERS_MAX {
                    return Err(PatchError::TooMany(POINTERS_MAX, "relocations"));
                }
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
                let end = symbol.address().checked_add(symbol.size()).ok_or(PatchError::Wraps)?;
                tables.ends.insert((section.0, symbol.address()), end);
            }
        }
        tables.targets = tables.pointers.values().copied().collect();
        Ok(tables)
    }

    /// The name that the pointer at this place will point to.
    fn name(&self, (section, offset): Place) -> Option<String> {
        let &(target, at) = self.pointers.get(&(section, offset))?;
        let bytes = self.data.get(&target)?.get(usize::try_from(at).ok()?..)?;
        let bytes = &bytes[..bytes.len().min(NAME_MAX)];
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
    fn of_objects(&self) -> Result<BTreeSet<PatchedFunction>, PatchError> {
        let mut found = BTreeSet::new();
        let mut arrays: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
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
            arrays.entry(funcs).or_default().insert(object);
        }
        let mut entries = 0;
        for (funcs, objects) in arrays {
            let array = self.array(funcs);
            entries += array.len() * objects.len();
            if entries > FUNCTIONS_MAX {
                return Err(PatchError::TooMany(FUNCTIONS_MAX, "functions"));
            }
            for object in &objects {
                found.extend(array.iter().map(|(function, sympos)| PatchedFunction {
                    object: object.clone(),
                    function: function.clone(),
                    sympos: *sympos,
                }));
            }
        }
        Ok(found)
    }

    /// The functions of an array, as far as the file shows that it goes, and one more than there may be.
    fn array(&self, (section, start): Place) -> Vec<(String, u64)> {
        let end = self.ends.get(&(section, start)).copied().unwrap_or(u64::MAX);
        let is_other = |at: u64| self.targets.contains(&(section, at));
        let mut places = self
            .pointers
            .range((Bound::Excluded((section, start)), Bound::Unbounded))
            .map(|(&place, _)| place)
            .take_while(|&(of, offset)| of == section && offset < end && !is_other(offset));
        // An element holds nothing else that is a name and then code.
        let next = places.find(|&place| self.function(place).is_some());
        let Some(bytes) = next.map(|(_, next)| next - start) else {
            return self.function((section, start)).into_iter().collect();
        };
        std::iter::successors(Some(start), |at| at.checked_add(bytes))
            .take_while(|&at| at < end && (at == start || !is_other(at)))
            .map_while(|at| self.function((section, at)))
            .take(FUNCTIONS_MAX + 1)
            .collect()
    }

    fn of_kpatch(&self, elf: &ElfFile64<'a, LittleEndian>) -> Result<BTreeSet<PatchedFunction>, PatchError> {
        let Some(section) = elf.section_by_name(".kpatch.funcs") else { return Ok(BTreeSet::new()) };
        let bytes = section.data().map_err(|_| beyond(&section))?.len() as u64;
        if section.size() > bytes {
            return Err(beyond(&section));
        }
        let count = bytes / KPATCH_BYTES;
        if count > FUNCTIONS_MAX as u64 {
            return Err(PatchError::TooMany(FUNCTIONS_MAX, "functions"));
        }
        let functions = (0..count).filter_map(|index| {
            let place = |field| (section.index().0, index * KPATCH_BYTES + field);
            let object = self.name(place(KPATCH_OBJECT)).unwrap_or_else(|| "vmlinux".to_owned());
            let sympos = self.number(place(KPATCH_SYMPOS));
            Some(PatchedFunction { object, function: self.name(place(KPATCH_NAME))?, sympos })
        });
        Ok(functions.collect())
    }
}

fn beyond<'a>(section: &impl ObjectSection<'a>) -> PatchError {
    PatchError::Beyond(section.name().unwrap_or("without a name").to_owned())
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
    fn a_symbol_that_ends_beyond_the_last_address_is_an_error_wherever_it_is() {
        for (value, size) in [(0x300, u64::MAX), (u64::MAX, 1), (u64::MAX - 7, 8)] {
            let mut module = Module::new("livepatch=Y\0");
            let data = module.data;
            module.point(data, 0x108, data, 0x300);
            module.function(0x300, "arch_cpu_idle");
            module.variable(value, size);
            assert!(matches!(module.functions(), Err(PatchError::Wraps)), "{value:#x} + {size:#x}");
        }
    }

    #[test]
    fn a_pointer_near_the_last_address_points_to_nothing() {
        for at in [u64::MAX, u64::MAX - 7, u64::MAX - 16, 1 << 63] {
            let mut module = Module::new("livepatch=Y\0");
            let data = module.data;
            module.point(data, 0x108, data, at);
            assert!(matches!(module.functions(), Err(PatchError::NoTable)), "{at:#x}");
        }
    }

    #[test]
    fn an_array_that_many_objects_share_is_read_once_and_too_many_are_refused() {
        let shared = |objects: u64, functions: u64| {
            let mut module = Module::new("livepatch=Y\0");
            let data = module.data;
            module.elf.append_section_data(data, &vec![0; 0x20_0000], 32);
            for index in 0..functions {
                module.function(0x1000 + index * 64, &format!("f{index}"));
            }
            for index in 0..objects {
                module.name(data, 0x10_0000 + index * 64, &format!("m{}", index % 100));
                module.point(data, 0x10_0008 + index * 64, data, 0x1000);
            }
            module.functions()
        };
        assert_eq!(shared(5000, 100).unwrap().len(), 100 * 100);
        assert!(matches!(shared(5000, 101), Err(PatchError::TooMany(FUNCTIONS_MAX, "functions"))));
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
        assert!(matches!(read(b"#!/bin/sh\n"), Err(PatchError::NotElf(_))));
        assert!(matches!(read(b""), Err(PatchError::NotElf(_))));
    }
}
