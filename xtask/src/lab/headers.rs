//! The headers that a stock kernel's modules are built with, and where its makefiles want it, its compiler.
//!
//! Debian's packages are unpacked into the cache and never installed. Their makefiles expect to live in /usr/src:
//! that path is rewritten. The system's gcc-12 builds for the older kernels; the newest suite's makefiles want that
//! suite's compiler, and its tools that suite's libc. So the compiler comes along with all that it depends on, and
//! every program of it is told to start by the loader, and with the libraries, that lie beside it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::{Apt, unpack};
use super::image::Image;
use super::matrix::{Kernel, Release};
use crate::cache;
use crate::process::{output, say};

const SYSTEM_COMPILER: &str = "gcc-12";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// What `make` is told to build a module for one kernel.
#[derive(Debug)]
pub(super) struct Headers {
    /// For `make -C`.
    pub directory: PathBuf,
    /// Variables of make.
    pub variables: Vec<String>,
    /// For the environment.
    pub path: OsString,
}

/// The headers of a kernel, fetched if they are not in the cache.
pub(super) fn of(image: &Image) -> Result<Headers> {
    let kernel = image.known.with_context(|| {
        format!(
            "no headers are known for {}; scenarios with a module need one of the lab's own kernels",
            image.name
        )
    })?;
    let package = format!("linux-headers-{}", image.release);
    let root = cache::dir("headers")?.join(&image.release);
    let directory = root.join("usr/src").join(&package);
    if !directory.is_dir() {
        fetch_any(kernel, &package, &root)?;
    }
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    let mut variables = vec![format!("CC={SYSTEM_COMPILER}")];
    if kernel.own_compiler {
        // Its makefiles know the compiler's name.
        variables.clear();
        let own = std::iter::once(root.join("usr/bin"));
        path = std::env::join_paths(own.chain(std::env::split_paths(&path)))
            .context("a path of the cache has a colon in it; set XDG_CACHE_HOME")?;
    }
    Ok(Headers { directory, variables, path })
}

fn fetch_any(kernel: &Kernel, package: &str, root: &Path) -> Result<()> {
    say(&format!("fetching {package}"));
    let mut why = Vec::new();
    for source in kernel.sources {
        match fetch(package, source.release, kernel.own_compiler, root) {
            Ok(()) => return Ok(()),
            Err(error) => why.push(format!("{}: {error:#}", source.release.name)),
        }
    }
    bail!("cannot fetch {package}: {}", why.join("; "))
}

fn fetch(package: &str, release: &Release, with_compiler: bool, root: &Path) -> Result<()> {
    let apt = Apt::open(release)?;
    let scratch = cache::scratch(root)?;
    let unpacked = scratch.path().join("root");
    let files = if with_compiler {
        apt.download_installable(package, scratch.path())?
    } else {
        let is_wanted = |name: &str| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-");
        apt.download(&apt.closure(package, is_wanted)?, scratch.path())?
    };
    for file in files {
        unpack(&file, &unpacked)?;
    }
    for entry in fs::read_dir(unpacked.join("usr/src"))? {
        let makefile = entry?.path().join("Makefile");
        let text = fs::read_to_string(&makefile).unwrap_or_default();
        let is_wrapper = text.lines().any(|line| line.starts_with("include /usr/src/"));
        if is_wrapper {
            let here = root.join("usr/src");
            fs::write(&makefile, text.replace("/usr/src", &here.to_string_lossy()))?;
        }
    }
    if with_compiler {
        relocate(&unpacked.join("usr"), root)?;
    }
    let _ = fs::remove_dir_all(root);
    fs::rename(&unpacked, root).with_context(|| format!("cannot put the headers at {}", root.display()))
}

/// Has every program below `directory` start by the loader, and with the libraries, that will be below `root`.
fn relocate(directory: &Path, root: &Path) -> Result<()> {
    let loader = root.join("usr/lib64/ld-linux-x86-64.so.2");
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            relocate(&path, root)?;
        } else if kind.is_file() && is_program(&path)? {
            output(
                Command::new("patchelf")
                    .arg("--set-interpreter")
                    .arg(&loader)
                    .arg("--force-rpath")
                    .arg("--set-rpath")
                    .arg(root.join(LIBRARIES))
                    .arg(&path),
            )?;
        }
    }
    Ok(())
}

/// Whether it is an executable that a loader has to start.
fn is_program(path: &Path) -> Result<bool> {
    if fs::metadata(path)?.permissions().mode() & 0o111 == 0 {
        return Ok(false);
    }
    let mut magic = [0; 4];
    let mut file = fs::File::open(path)?;
    if std::io::Read::read(&mut file, &mut magic)? < magic.len() || magic != *b"\x7fELF" {
        return Ok(false);
    }
    // It fails where there is none: libraries, objects, static programs.
    let interpreter = Command::new("patchelf").arg("--print-interpreter").arg(path).output();
    Ok(interpreter.context("cannot run patchelf; `cargo xtask setup` installs it")?.status.success())
}
