//! Where the kernel's own file systems are mounted. Nothing is mounted here: that is for the host's owner.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::kernel::read::line::each_line_of;
use crate::kernel::read::support::Reason;

/// The files of a kernel: its own, or a captured tree in a test.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The running kernel.
    #[must_use]
    pub fn live() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// A copy of the files under `root`.
    #[cfg(test)]
    pub(crate) fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The place of an absolute path in this tree.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// tracefs, by the name of a file that it must have.
    ///
    /// # Errors
    /// That it is not mounted, or closed to this process.
    pub fn tracefs(&self) -> Result<PathBuf, Reason> {
        self.find("tracefs", &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"], "trace")
    }

    /// debugfs.
    ///
    /// # Errors
    /// That it is not mounted, or closed to this process.
    pub fn debugfs(&self) -> Result<PathBuf, Reason> {
        self.find("debugfs", &["/sys/kernel/debug"], "kprobes")
    }

    fn find(&self, kind: &str, usual: &[&str], file: &str) -> Result<PathBuf, Reason> {
        let mut closed = None;
        let mounted = self.mounts_of(kind);
        for place in mounted.iter().map(String::as_str).chain(usual.iter().copied()) {
            let place = self.path(place);
            match std::fs::metadata(place.join(file)) {
                Ok(_) => return Ok(place),
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => closed = Some((place, e)),
                Err(_) => {}
            }
        }
        let offered = self.offers(kind);
        Err(match closed {
            Some((place, error)) => Reason::unreadable(&place, &error),
            None if offered && mounted.is_empty() => Reason::with_remedy(
                format!("{kind} is not mounted"),
                format!("mount -t {kind} {kind} {}", usual[0]),
            ),
            None if offered => {
                Reason::new(format!("{kind} has no `{file}`: this kernel is built without it"))
            }
            None => Reason::new(format!("this kernel has no {kind}")),
        })
    }

    /// Where file systems of this kind are mounted.
    pub(crate) fn mounts_of(&self, kind: &str) -> Vec<String> {
        let mut places = Vec::new();
        // Without /proc/mounts the usual places are still tried.
        let _ = each_line_of(&self.path("/proc/mounts"), |line| {
            let mut words = line.split(' ').skip(1);
            if let (Some(place), Some(of)) = (words.next(), words.next())
                && of == kind
            {
                places.push(place.replace("\\040", " "));
            }
            ControlFlow::Continue(())
        });
        places
    }

    /// Whether this kernel has such a file system, mounted or not.
    pub(crate) fn offers(&self, kind: &str) -> bool {
        let mut found = false;
        let _ = each_line_of(&self.path("/proc/filesystems"), |line| {
            found |= line.split_ascii_whitespace().next_back() == Some(kind);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }
}
