//! The scenarios' kernel modules, built against the stock kernel's own headers.
//!
//! Their source is in the tree, what was built of it in `target`: a module is built again when its source changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::headers::{self, Headers};
use super::image::Image;
use crate::cache;
use crate::process::{output, say};

/// The module of that name, for that kernel.
pub(super) fn build(name: &str, image: &Image) -> Result<PathBuf> {
    let sources = cache::workspace().join("xtask/lab/modules");
    let build = cache::target().join("lab/modules").join(&image.release).join(name);
    let module = build.join(format!("{name}.ko"));
    let changed = copy_if_changed(&sources.join("Kbuild"), &build.join("Kbuild"))?
        | copy_if_changed(&sources.join(format!("{name}.c")), &build.join(format!("{name}.c")))?;
    if module.is_file() && !changed {
        return Ok(module);
    }
    let Headers { directory, variables, path } = headers::of(image)?;
    say(&format!("building module {name} for {}", image.release));
    let _ = fs::remove_file(&module);
    output(
        Command::new("make")
            .arg("-C")
            .arg(&directory)
            .arg(format!("M={}", build.display()))
            .arg(format!("LAB_MODULES={name}"))
            .args(&variables)
            .env("PATH", path)
            .arg("modules")
            // Cargo's own flags for make, and ours, mean nothing to the kernel's build.
            .env_remove("MAKEFLAGS")
            .env_remove("CFLAGS"),
    )
    .with_context(|| {
        format!("cannot build {name} for {}; `cargo xtask setup` installs what it needs", image.release)
    })?;
    if !module.is_file() {
        bail!("the kernel's build left no {}", module.display());
    }
    Ok(module)
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    cache::create_dir(to.parent().unwrap_or(to))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
