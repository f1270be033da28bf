//! The kernel's types, as little of them as aya needs.
//!
//! aya wants all types of `/sys/kernel/btf/vmlinux`: the loader to relocate programs by them, which ours do not ask
//! for, and fentry to find its function's id, which `kernel::read::btf` has found already. Parsing them is half of
//! what a start would cost, and 10 to 20 MiB. So the loader gets none, and fentry a list in which the functions
//! that are to be probed have the ids that the kernel gave them, and nothing else has a name.

use std::collections::BTreeMap;

use aya::{Btf, EbpfLoader};
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::BpfError;
use super::attach::AttachSite;

/// A loader that has not read the kernel's types. aya 0.14.0 has no constructor that leaves them out
/// (`EbpfLoader::new` reads them before `EbpfLoader::btf` can say no), but does without them where their file
/// cannot be opened: for the time of the call this process may open none. No unit test calls this, since they
/// share a process; every guest does.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return EbpfLoader::new() };
    // Where the limit cannot be lowered the types are read after all; raising it again up to the hard limit needs no
    // privilege.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, 0, hard);
    let loader = EbpfLoader::new();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    loader
}

/// Functions under the ids that the kernel has them under.
#[derive(Default)]
pub(super) struct Functions {
    ids: BTreeMap<u32, String>,
    list: Option<Btf>,
}

impl Functions {
    /// Those that are about to be probed: one list for all of them.
    pub(super) fn expect<'a>(&mut self, sites: impl Iterator<Item = AttachSite<'a>>) {
        self.list = None;
        self.ids = sites.filter_map(|site| Some((site.type_id?, site.symbol.to_owned()))).collect();
    }

    /// A list that has at least this one.
    ///
    /// # Errors
    /// Where the kernel has no such type.
    pub(super) fn with(&mut self, symbol: &str, type_id: Option<u32>) -> Result<&Btf, BpfError> {
        let id = type_id.ok_or_else(|| BpfError::NoType { symbol: symbol.to_owned() })?;
        if self.ids.get(&id).is_none_or(|known| known != symbol) {
            self.ids.insert(id, symbol.to_owned());
            self.list = None;
        }
        let ids = &self.ids;
        Ok(self.list.get_or_insert_with(|| list(ids)))
    }
}

fn list(ids: &BTreeMap<u32, String>) -> Btf {
    let mut list = Btf::new();
    // Type 0, `void`, is there.
    let mut next = 1;
    for (&id, symbol) in ids {
        for _ in next..id {
            list.add_type(BtfType::Unknown);
        }
        let name = list.add_string(symbol);
        list.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
        next = id + 1;
    }
    list
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::BtfKind;

    use super::*;

    fn id(functions: &mut Functions, symbol: &str, id: u32) -> u32 {
        functions.with(symbol, Some(id)).unwrap().id_by_type_name_kind(symbol, BtfKind::Func).unwrap()
    }

    #[test]
    fn functions_are_found_under_their_ids_in_the_kernel() {
        let mut functions = Functions::default();
        let site = |symbol, id| AttachSite { symbol, offset: 0, type_id: Some(id) };
        functions.expect([site("vfs_read", 90_000), site("vfs_write", 1)].into_iter());
        assert_eq!(id(&mut functions, "vfs_read", 90_000), 90_000);
        assert_eq!(id(&mut functions, "vfs_write", 1), 1);
        assert_eq!(id(&mut functions, "one_that_comes_later", 2), 2);
        assert_eq!(id(&mut functions, "vfs_read", 90_000), 90_000);
        assert!(functions.with("none", None).is_err());
    }
}
