//! Livepatches, from `/sys/kernel/livepatch/<patch>/<object>/<function>,<sympos>`.

use std::path::Path;

use crate::kernel::support::Reason;

/// One function of one livepatch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatchedFunction {
    pub patch: String,
    /// `vmlinux`, or the module that the function is in.
    pub object: String,
    pub function: String,
    /// Which of the functions of this name, from 1.
    pub sympos: u32,
}

/// A livepatch and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Livepatch {
    pub name: String,
    pub enabled: bool,
    /// Tasks are still being moved to or from it.
    pub in_transition: bool,
    pub functions: Vec<PatchedFunction>,
}

/// All livepatches, sorted by name. None where the kernel has no livepatching.
///
/// # Errors
/// Where the directory is there but cannot be read.
pub fn read(sysfs: &Path) -> Result<Vec<Livepatch>, Reason> {
    let patches = match std::fs::read_dir(sysfs) {
        Ok(patches) => patches,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Reason::unreadable(sysfs, &e)),
    };
    let mut livepatches: Vec<_> = patches.flatten().map(|patch| read_one(&patch.path())).collect();
    livepatches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(livepatches)
}

fn read_one(patch: &Path) -> Livepatch {
    let name = file_name(patch);
    let flag = |file| std::fs::read_to_string(patch.join(file)).is_ok_and(|text| text.trim() == "1");
    let mut functions = Vec::new();
    for object in directories(patch) {
        for function in directories(&object) {
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
    Livepatch { enabled: flag("enabled"), in_transition: flag("transition"), functions, name }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directories(of: &Path) -> Vec<std::path::PathBuf> {
    // A livepatch can be removed while it is looked at.
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_come_with_their_object_and_position() {
        let root = std::env::temp_dir().join(format!("rcu-watch-livepatch-{}", std::process::id()));
        let patch = root.join("livepatch_idle");
        std::fs::create_dir_all(patch.join("vmlinux/arch_cpu_idle,1")).unwrap();
        std::fs::create_dir_all(patch.join("ext4/show,2")).unwrap();
        std::fs::write(patch.join("enabled"), "1\n").unwrap();
        std::fs::write(patch.join("transition"), "0\n").unwrap();
        let found = read(&root).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].enabled && !found[0].in_transition);
        let names: Vec<_> =
            found[0].functions.iter().map(|f| (f.object.as_str(), f.function.as_str(), f.sympos)).collect();
        assert_eq!(names, [("ext4", "show", 2), ("vmlinux", "arch_cpu_idle", 1)]);
    }

    #[test]
    fn a_kernel_without_livepatching_has_no_livepatches() {
        assert_eq!(read(Path::new("/nonexistent/livepatch")), Ok(Vec::new()));
    }
}
