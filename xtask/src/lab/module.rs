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
    say(&format!("building module {name} for {}", image.release));
    let _ = fs::remove_file(&module);
    make(&build, image, &[&format!("LAB_MODULES={name}")])?;
    if !module.is_file() {
        bail!("the kernel's build left no {}", module.display());
    }
    Ok(module)
}

/// Has the kernel's makefiles build the modules in a directory; `variables` are for the directory's own makefile.
pub(super) fn make(build: &Path, image: &Image, variables: &[&str]) -> Result<()> {
    let Headers { directory, variables: of_headers, path } = headers::of(image)?;
    output(
        Command::new("make")
            .arg("-C")
            .arg(&directory)
            .arg(format!("M={}", build.display()))
            .args(variables)
            .args(&of_headers)
            .env("PATH", path)
            .arg("modules")
            // Cargo's own flags for make, and ours, mean nothing to the kernel's build.
            .env_remove("MAKEFLAGS")
            .env_remove("CFLAGS"),
    )
    .with_context(|| {
        let build = build.display();
        format!("cannot build {build} for {}; `cargo xtask setup` installs what it needs", image.release)
    })?;
    Ok(())
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
