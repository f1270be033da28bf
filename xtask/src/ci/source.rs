//! Rules about the source text itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cache;

const LINES_MAX: usize = 500;

pub(super) fn files_are_short() -> Result<()> {
    let mut long = Vec::new();
    for package in ["rcu-watch", "rcu-watch/core", "rcu-watch-common", "rcu-watch-ebpf", "xtask"] {
        for file in rust_files(&cache::workspace().join(package).join("src"))? {
            let lines = fs::read_to_string(&file)?.lines().count();
            if lines > LINES_MAX {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    if long.is_empty() { Ok(()) } else { bail!("more than {LINES_MAX} lines:\n{}", long.join("\n")) }
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
