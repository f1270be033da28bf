//! The two tools of the BPF half: a compiler with a `core` for BPF, and the linker.
//!
//! bpf-linker works on LLVM bitcode, so its LLVM must be the compiler's: it is built against the `libLLVM.so` that the
//! compiler itself loads, found through a prefix of our own that holds nothing but a link to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache;
use crate::process::{cargo, on_path, output, run, say};

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
/// Where a distribution keeps its shared libraries.
const LIBRARY_DIRS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// A compiler that can build for BPF.
#[derive(Debug)]
pub(super) struct Compiler {
    sysroot: PathBuf,
    llvm_major: String,
}

/// In the order of `rcu-watch/build.rs`: rustup's nightly, then the distribution's.
pub(super) fn compiler() -> Option<Compiler> {
    let nightly = || {
        let mut rustc = Command::new("rustup");
        rustc.args(["run", "nightly", "rustc"]);
        rustc
    };
    usable(nightly).or_else(|| usable(|| Command::new("/usr/bin/rustc")))
}

fn usable(rustc: impl Fn() -> Command) -> Option<Compiler> {
    let sysroot = PathBuf::from(output(rustc().args(["--print", "sysroot"])).ok()?.trim());
    let rustlib = sysroot.join("lib/rustlib");
    let has_core = rustlib.join("bpfel-unknown-none/lib").is_dir()
        || rustlib.join("src/rust/library/Cargo.lock").is_file();
    let llvm_major = llvm_major(&output(rustc().arg("-vV")).ok()?)?;
    has_core.then_some(Compiler { sysroot, llvm_major })
}

fn llvm_major(version: &str) -> Option<String> {
    let version = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    Some(version.split('.').next()?.to_owned())
}

/// Builds bpf-linker into the cache, unless there is one already.
pub(super) fn ensure_linker() -> Result<()> {
    let tools = cache::dir("tools")?;
    if on_path(LINKER) || works(&tools.join("bin").join(LINKER)) {
        return Ok(());
    }
    let compiler = compiler().context("no compiler for BPF; run `cargo xtask setup`")?;
    let prefix = cache::dir("llvm")?;
    link_llvm(&compiler, &prefix)?;
    say(&format!("building {LINKER} {LINKER_VERSION} into {} (about 2 minutes)", tools.display()));
    let feature = format!("llvm-{}", compiler.llvm_major);
    let built = run(cargo()
        .args(["install", LINKER, "--version", LINKER_VERSION, "--locked", "--force", "--root"])
        .arg(&tools)
        .args(["--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", &prefix)
        // Its own target directory: ours may be locked by the cargo that runs us.
        .env_remove("CARGO_TARGET_DIR"));
    if let Err(error) = built {
        bail!("{error:#}; by hand: cargo install {LINKER}");
    }
    Ok(())
}

/// A linker whose LLVM was taken away by an upgrade does not even start.
fn works(linker: &Path) -> bool {
    linker.is_file() && output(Command::new(linker).arg("--version")).is_ok()
}

fn link_llvm(compiler: &Compiler, prefix: &Path) -> Result<()> {
    let lib = prefix.join("lib");
    cache::create_dir(&lib)?;
    let link = lib.join("libLLVM.so");
    let wanted = format!("libLLVM.so.{}", compiler.llvm_major);
    let own = compiler.sysroot.join("lib");
    let library = std::iter::once(own.as_path())
        .chain(LIBRARY_DIRS.iter().map(Path::new))
        .find_map(|dir| file_beginning(dir, &wanted))
        .with_context(|| {
            format!("no {wanted} in {} or /usr/lib; install libllvm{}", own.display(), compiler.llvm_major)
        })?;
    if fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(());
    }
    let _ = fs::remove_file(&link);
    symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))
}

fn file_beginning(dir: &Path, prefix: &str) -> Option<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    names.sort();
    names.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_llvm_is_read_from_its_version() {
        let text = "rustc 1.96.0\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(text).as_deref(), Some("22"));
        assert_eq!(llvm_major("rustc 1.96.0"), None);
    }
}
