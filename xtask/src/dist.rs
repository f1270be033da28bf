//! What is shipped: one static binary, for a bare initramfs as well as for a distribution.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

use crate::cache;
use crate::process::{cargo, output, run, say};
use crate::setup::{self, For};

/// The C library is glibc, linked in; there is no musl `std` to be had on every machine that builds this.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const TARGET_RUSTFLAGS: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS";
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";

const SIZE_MAX_BYTES: u64 = 8 << 20;

/// `target/dist/rcu-watch`, built and checked.
pub(crate) fn binary() -> Result<PathBuf> {
    setup::ensure(&[For::Build])?;
    say("building the static rcu-watch (and its BPF programs)");
    let built = build(&["--package", "rcu-watch", "--bin", "rcu-watch"], "rcu-watch")?;
    check(&built)?;
    let dist = cache::target().join("dist");
    cache::create_dir(&dist)?;
    let to = dist.join("rcu-watch");
    // A new file and not new content: a guest's initramfs may just be reading the old one.
    let new = dist.join("rcu-watch.new");
    fs::copy(&built, &new).and_then(|_| fs::rename(&new, &to)).context("cannot write target/dist")?;
    Ok(to)
}

/// The lab's PID 1. Not shipped.
pub(crate) fn lab_init() -> Result<PathBuf> {
    build(&["--package", "xtask", "--no-default-features", "--bin", "lab_init"], "lab_init")
}

/// `cargo xtask dist`: the binary, what belongs to it, all of it in one archive, and the sums.
pub(crate) fn dist() -> Result<()> {
    let binary = binary()?;
    let size_bytes = fs::metadata(&binary)?.len();
    let dist = cache::target().join("dist");
    let name = format!("rcu-watch-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let tree = dist.join(&name);
    let _ = fs::remove_dir_all(&tree);
    cache::create_dir(&tree.join("completions"))?;
    // From the binary itself, so that they cannot say anything else than it does.
    for (args, file) in [
        (["man"].as_slice(), "rcu-watch.1"),
        (&["completions", "bash"], "completions/rcu-watch.bash"),
        (&["completions", "fish"], "completions/rcu-watch.fish"),
        (&["completions", "zsh"], "completions/_rcu-watch"),
    ] {
        fs::write(tree.join(file), output(Command::new(&binary).args(args))?)?;
    }
    fs::copy(&binary, tree.join("rcu-watch"))?;
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md"] {
        let from = cache::workspace().join(file);
        if from.is_file() {
            fs::copy(&from, tree.join(file))?;
        }
    }
    let archive = format!("{name}.tar.gz");
    pack(&dist, &name, &archive)?;
    let sums = output(Command::new("sha256sum").args(["rcu-watch", &archive]).current_dir(&dist))?;
    fs::write(dist.join("SHA256SUMS"), sums)?;
    let mib = size_bytes as f64 / f64::from(1 << 20);
    say(&format!("{}: static, {mib:.1} MiB; {archive} and SHA256SUMS beside it", binary.display()));
    Ok(())
}

/// The same commit gives the same archive.
fn pack(dist: &Path, name: &str, archive: &str) -> Result<()> {
    let committed =
        output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(cache::workspace()));
    let mtime = committed.map_or_else(|_| "@0".to_owned(), |seconds| format!("@{}", seconds.trim()));
    run(Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -n"])
        .args(["--mtime", &mtime, "-cf", archive, name])
        .current_dir(dist))
}

/// Where cargo put the program of that name.
fn build(what: &[&str], name: &str) -> Result<PathBuf> {
    // With --target, the flags are not those of build scripts and procedural macros, which cannot be static.
    let built = cargo()
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .args(what)
        .env(TARGET_RUSTFLAGS, STATIC)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !built.status.success() {
        bail!("cannot build {name}: {}; what is wrong is printed above", built.status);
    }
    program(&built.stdout, name).with_context(|| format!("cargo built no program {name}"))
}

/// Out of what cargo says of a build.
fn program(messages: &[u8], name: &str) -> Option<PathBuf> {
    Message::parse_stream(messages).find_map(|message| match message.ok()? {
        Message::CompilerArtifact(artifact) if artifact.target.name == name => {
            artifact.executable.map(Into::into)
        }
        _ => None,
    })
}

fn check(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    if bytes.len() as u64 > SIZE_MAX_BYTES {
        bail!("{} has {} bytes, more than 8 MiB", binary.display(), bytes.len());
    }
    if has_interpreter(&bytes).with_context(|| format!("{} is not an ELF file", binary.display()))? {
        bail!("{} asks for a dynamic loader, so it is not static", binary.display());
    }
    Ok(())
}

/// Whether a 64-bit ELF file has a `PT_INTERP` segment.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?));
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, entry_len, count) = (u64_at(32)?, u16_at(54)?, u16_at(56)?);
    for index in 0..usize::from(count) {
        let at = usize::try_from(table).ok()? + index * usize::from(entry_len);
        if u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says_it_is() {
        let artifact = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///w#xtask@0.1.0","manifest_path":"/w/Cargo.toml",
                "target":{{"kind":["bin"],"crate_types":["bin"],"name":"{name}","src_path":"/w/src/main.rs","edition":"2024",
                "doc":true,"doctest":false,"test":true}},"profile":{{"opt_level":"0","debuginfo":2,"debug_assertions":true,
                "overflow_checks":true,"test":false}},"features":[],"filenames":[],"executable":{executable},"fresh":true}}"#
            )
            .replace('\n', "")
        };
        let messages =
            [artifact("lab_init", "null"), artifact("other", "\"/o\""), artifact("lab_init", "\"/t/x\"")];
        let messages = messages.join("\n");
        assert_eq!(program(messages.as_bytes(), "lab_init"), Some(PathBuf::from("/t/x")));
        assert_eq!(program(messages.as_bytes(), "rcu-watch"), None);
    }

    #[test]
    fn a_dynamic_program_is_told_from_other_files() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(has_interpreter(&own), Some(true));
        assert_eq!(has_interpreter(b"#!/bin/sh\n"), None);
    }
}
