//! Debian's static busybox, so that `lab run -- sh` has a shell. Comfort only: no scenario needs it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt::{Apt, Package, unpack};
use super::matrix::BOOKWORM;
use crate::cache;
use crate::process::say;

/// From the cache, else from the archive, else none.
pub(super) fn find() -> Option<PathBuf> {
    let path = cache::dir("busybox").ok()?.join("busybox");
    if path.is_file() {
        return Some(path);
    }
    match fetch(&path) {
        Ok(()) => Some(path),
        Err(error) => {
            say(&format!("no shell in the guest: {error:#}"));
            None
        }
    }
}

fn fetch(to: &Path) -> Result<()> {
    let scratch = cache::scratch(to)?;
    let root = scratch.path().join("root");
    let package = Package { name: "busybox-static".into(), version: None };
    let files = Apt::open(&BOOKWORM)?.download(&[package], scratch.path())?;
    unpack(files.first().context("nothing was downloaded")?, &root)?;
    let binary = ["bin/busybox", "usr/bin/busybox"].iter().map(|path| root.join(path));
    let binary = binary.into_iter().find(|path| path.is_file()).context("the package holds no busybox")?;
    fs::rename(binary, to)?;
    Ok(())
}
