//! Livepatches, from `/sys/kernel/livepatch/<patch>/<object>/<function>,<sympos>`.
//!
//! The kernel makes and removes such a directory piece by piece (kernel/livepatch/core.c:klp_init_patch,
//! klp_free_patch_start), and one that is read meanwhile shows a livepatch without functions, or neither enabled nor in
//! transition. So a directory that changes while it is read is [`Found::torn`]: it is there, and says nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::kernel::read::support::Reason;

/// One function of one livepatch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PatchedFunction {
    pub patch: String,
    /// `vmlinux`, or the module that the function is in.
    pub object: String,
    pub function: String,
    /// Which of the functions of this name, from 1.
    pub sympos: u32,
}

/// A livepatch and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Livepatch {
    pub name: String,
    pub enabled: bool,
    /// Tasks are still being moved to or from it.
    pub in_transition: bool,
    pub functions: Vec<PatchedFunction>,
    /// Inode of its directory, a new one each time that it is loaded.
    pub inode: u64,
    /// It takes the place of all that were loaded before; `None` where sysfs does not say. Added in: adb68ed26a3e
    /// ("livepatch: Add "replace" sysfs attribute").
    pub replace: Option<bool>,
}

/// What the directory of livepatches shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Those that could be read as a whole, sorted by name.
    pub whole: Vec<Livepatch>,
    /// Names of those that came, went or changed while they were read.
    pub torn: Vec<String>,
}

/// All livepatches that can be read as a whole, sorted by name. None where the kernel has no livepatching.
///
/// # Errors
/// Where the directory is there but cannot be read.
pub(crate) fn read(sysfs: &Path) -> Result<Vec<Livepatch>, Reason> {
    find(sysfs).map(|found| found.whole)
}

/// All livepatches. None where the kernel has no livepatching.
///
/// # Errors
/// Where the directory is there but cannot be read.
pub(crate) fn find(sysfs: &Path) -> Result<Found, Reason> {
    let patches = match fs::read_dir(sysfs) {
        Ok(patches) => patches,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(e) => return Err(Reason::unreadable(sysfs, &e)),
    };
    let mut found = Found::default();
    for patch in patches.flatten() {
        match read_one(&patch.path()) {
            Ok(livepatch) => found.whole.push(livepatch),
            Err(_) => found.torn.push(file_name(&patch.path())),
        }
    }
    found.whole.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn read_one(patch: &Path) -> io::Result<Livepatch> {
    let inode = fs::metadata(patch)?.ino();
    let name = file_name(patch);
    let flag = |file| fs::read_to_string(patch.join(file)).map(|text| text.trim() == "1");
    let replace = match flag("replace") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        flag => Some(flag?),
    };
    let mut functions = Vec::new();
    for object in directories(patch)? {
        for function in directories(&object)? {
            if let Some((function, sympos)) = file_name(&function).rsplit_once(',') {
                functions.push(PatchedFunction {
                    patch: name.clone(),
                    object: file_name(&object),
                    function: function.to_owned(),
                    sympos: sympos.parse().unwrap_or(0),
                });
            }
        }
    }
    functions.sort();
    let enabled = flag("enabled")?;
    let in_transition = flag("transition")?;
    if flag("enabled")? != enabled || fs::metadata(patch)?.ino() != inode {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(Livepatch { enabled, in_transition, functions, inode, replace, name })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directories(of: &Path) -> io::Result<Vec<PathBuf>> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(of)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            directories.push(entry.path());
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_come_with_their_object_and_position() {
        let root = tempfile::tempdir().unwrap();
        let patch = root.path().join("livepatch_idle");
        fs::create_dir_all(patch.join("vmlinux/arch_cpu_idle,1")).unwrap();
        fs::create_dir_all(patch.join("ext4/show,2")).unwrap();
        fs::write(patch.join("enabled"), "1\n").unwrap();
        fs::write(patch.join("transition"), "0\n").unwrap();
        let found = read(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].enabled && !found[0].in_transition);
        let names: Vec<_> =
            found[0].functions.iter().map(|f| (f.object.as_str(), f.function.as_str(), f.sympos)).collect();
        assert_eq!(names, [("ext4", "show", 2), ("vmlinux", "arch_cpu_idle", 1)]);
    }

    #[test]
    fn a_directory_that_is_half_there_says_nothing_but_that_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("half/vmlinux")).unwrap();
        fs::write(root.path().join("half/enabled"), "0\n").unwrap();
        let found = find(root.path()).unwrap();
        assert_eq!((found.whole, found.torn), (Vec::new(), vec!["half".to_owned()]));
    }

    #[test]
    fn a_kernel_without_livepatching_has_no_livepatches() {
        assert_eq!(read(Path::new("/nonexistent/livepatch")), Ok(Vec::new()));
    }
}
