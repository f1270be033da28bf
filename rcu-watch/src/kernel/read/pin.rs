//! Where BPF programs and links are pinned: every file of the BPF file systems that this process sees.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::kernel::read::holder::bpf_id;
use crate::kernel::read::mount::Tree;
use crate::sys::bpf::program::open_pinned;

/// Directories below one another that are looked into.
const DEPTH: usize = 8;

/// Paths of what is pinned, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    pub programs: BTreeMap<u32, PathBuf>,
    pub links: BTreeMap<u32, PathBuf>,
}

impl Pins {
    /// Asks the running kernel what each file is. What it refuses is not told.
    #[must_use]
    pub(crate) fn read(tree: &Tree) -> Self {
        let mut pins = Self::default();
        for mount in tree.mounts_of("bpf") {
            pins.walk(&tree.path(&mount), DEPTH);
        }
        pins
    }

    fn walk(&mut self, folder: &Path, depth: usize) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth > 0 {
                    self.walk(&path, depth - 1);
                }
            } else if let Ok(name) = CString::new(path.as_os_str().as_bytes())
                && let Ok(fd) = open_pinned(&name)
                && let Some((list, id)) = bpf_id(Path::new(&format!("/proc/self/fdinfo/{}", fd.as_raw_fd())))
            {
                let list = if list == "link_id" { &mut self.links } else { &mut self.programs };
                list.entry(id).or_insert(path);
            }
        }
    }
}
