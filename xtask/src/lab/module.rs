//! The scenarios' kernel modules, built against the stock kernel's own headers.
//!
//! Debian's headers packages are unpacked into the cache and never installed. Their makefiles expect to live in
//! /usr/src: the one absolute path is rewritten. The compiler is the system's gcc-12, whatever the kernel was built
//! with: its own may not be had any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::{Apt, unpack};
use super::kernel::Image;
use crate::cache;
use crate::process::{output, say};

const COMPILER: &str = "gcc-12";

/// The module of that name, for that kernel.
pub fn build(name: &str, image: &Image) -> Result<PathBuf> {
    let sources = cache::workspace().join("xtask/lab/modules");
    let build = cache::target().join("lab/modules").join(&image.release).join(name);
    let module = build.join(format!("{name}.ko"));
    let changed = copy_if_changed(&sources.join("Kbuild"), &build.join("Kbuild"))?
        | copy_if_changed(&sources.join(format!("{name}.c")), &build.join(format!("{name}.c")))?;
    if module.is_file() && !changed {
        return Ok(module);
    }
    let headers = headers(image)?;
    say(&format!("building module {name} for {}", image.release));
    let _ = fs::remove_file(&module);
    output(
        Command::new("make")
            .arg("-C")
            .arg(&headers)
            .arg(format!("M={}", build.display()))
            .arg(format!("LAB_MODULES={name}"))
            .arg(format!("CC={COMPILER}"))
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

/// The directory that `make -C` takes.
fn headers(image: &Image) -> Result<PathBuf> {
    let kernel = image.known.with_context(|| {
        format!(
            "no headers are known for {}; scenarios with a module need one of the lab's own kernels",
            image.name
        )
    })?;
    let package = format!("linux-headers-{}", image.release);
    let root = cache::dir("headers")?.join(&image.release);
    let directory = root.join("usr/src").join(&package);
    if directory.is_dir() {
        return Ok(directory);
    }
    say(&format!("fetching {package}"));
    let mut why = Vec::new();
    for source in kernel.sources {
        match fetch(&package, source.release, &root) {
            Ok(()) => return Ok(directory),
            Err(error) => why.push(format!("{}: {error:#}", source.release.name)),
        }
    }
    bail!("cannot fetch {package}: {}", why.join("; "))
}

fn fetch(package: &str, release: &super::matrix::Release, root: &Path) -> Result<()> {
    let apt = Apt::open(release)?;
    let packages =
        apt.closure(package, |name| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-"))?;
    let scratch = cache::scratch(root)?;
    let unpacked = scratch.join("root");
    for file in apt.download(&packages, &scratch)? {
        unpack(&file, &unpacked)?;
    }
    for entry in fs::read_dir(unpacked.join("usr/src"))? {
        let makefile = entry?.path().join("Makefile");
        let text = fs::read_to_string(&makefile).unwrap_or_default();
        if text.starts_with("include /usr/src/") {
            let here = root.join("usr/src");
            fs::write(&makefile, text.replace("/usr/src", &here.to_string_lossy()))?;
        }
    }
    let _ = fs::remove_dir_all(root);
    fs::rename(&unpacked, root).with_context(|| format!("cannot put the headers at {}", root.display()))?;
    fs::remove_dir_all(&scratch)?;
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
