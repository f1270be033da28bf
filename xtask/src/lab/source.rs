//! The source of one of Debian's kernels, as its package has it: one archive in the cache, for whoever builds of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::{Apt, Package, unpack};
use super::matrix::Release;
use crate::cache;
use crate::process::{run, say};

/// A package's archive, fetched if it is not in the cache.
#[derive(Debug)]
pub(super) struct Source {
    /// The name of the package, and of the one directory in the archive.
    name: &'static str,
    archive: PathBuf,
}

/// The source of that name, `linux-source-6.12`.
pub(super) fn of(release: &Release, name: &'static str) -> Result<Source> {
    let archive = cache::dir("sources")?.join(format!("{name}.tar.xz"));
    if archive.is_file() {
        return Ok(Source { name, archive });
    }
    say(&format!("fetching {name} from {}", release.name));
    let scratch = cache::scratch(&archive)?;
    let package = Package { name: name.to_owned(), version: None };
    for file in Apt::open(release)?.download(&[package], scratch.path())? {
        unpack(&file, scratch.path())?;
    }
    let unpacked = scratch.path().join("usr/src").join(format!("{name}.tar.xz"));
    fs::rename(&unpacked, &archive).with_context(|| format!("the package has no {}", unpacked.display()))?;
    Ok(Source { name, archive })
}

impl Source {
    /// Unpacks all of it, or one path of it, below `to`; says where its root is.
    pub(super) fn unpack(&self, only: Option<&str>, to: &Path) -> Result<PathBuf> {
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&self.archive).arg("-C").arg(to);
        run(tar.args(only.map(|path| format!("{}/{path}", self.name))))?;
        Ok(to.join(self.name))
    }
}
