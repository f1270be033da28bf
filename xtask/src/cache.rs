//! Where everything that is fetched or built once is kept: outside the tree, and never relied upon.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::{Builder, TempDir};

/// `$XDG_CACHE_HOME/rcu-watch`; `rcu-watch/build.rs` looks for bpf-linker in the same place.
pub(crate) fn root() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match base {
        Some(base) => base,
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set; set it or XDG_CACHE_HOME")?)
            .join(".cache"),
    };
    Ok(base.join("rcu-watch"))
}

/// A directory in the cache, made if it is not there.
pub(crate) fn dir(name: &str) -> Result<PathBuf> {
    let path = root()?.join(name);
    create_dir(&path)?;
    Ok(path)
}

pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}; check its owner", path.display()))
}

/// An empty directory beside a place in the cache, to fill before it takes that place; gone when it is dropped.
pub(crate) fn scratch(beside: &Path) -> Result<TempDir> {
    let parent = beside.parent().unwrap_or(beside);
    create_dir(parent)?;
    let mut name = beside.file_name().unwrap_or_default().to_owned();
    name.push(".new.");
    let scratch = Builder::new().prefix(&name).tempdir_in(parent);
    scratch.with_context(|| format!("cannot make a directory in {}; check its owner", parent.display()))
}

/// The checkout that this xtask belongs to.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's target directory, as cargo itself would choose it.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |target| workspace().join(target))
}
