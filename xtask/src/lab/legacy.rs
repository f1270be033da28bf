//! A kernel of our own: Debian's 5.10 with RCU's old entry functions traceable again.
//!
//! Since 5.8 `rcu_irq_enter`, `rcu_nmi_enter` and their exits are noinstr, and no kernel of the lab lets anybody hook
//! them. `legacy.patch` takes that back, as it was up to 5.7; everything else is Debian's source, with a small
//! configuration. It takes twenty minutes on two cores, and is never part of the default tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};

use super::image::{Image, Unavailable};
use super::{matrix, source};
use crate::cache;
use crate::process::{output, run, say};
use crate::setup::{self, For};

pub(super) const NAME: &str = "legacy";
const SOURCE: &str = "linux-source-5.10";
const COMPILER: &str = "gcc-12";

/// As it is in the cache.
pub(super) fn find() -> Result<Image> {
    let dir = cache::dir("kernels")?.join(NAME);
    let vmlinuz = dir.join("vmlinuz");
    let release = fs::read_to_string(dir.join("release")).unwrap_or_default();
    if !vmlinuz.is_file() || fs::read(dir.join("recipe")).ok() != Some(recipe()?) {
        let why =
            "it is built from source, for twenty minutes, by `cargo xtask lab kernel legacy`".to_owned();
        return Err(Unavailable { kernel: NAME.to_owned(), why }.into());
    }
    Ok(Image { name: NAME.to_owned(), release: release.trim().to_owned(), vmlinuz, known: None })
}

/// Builds it, unless it is there.
pub(super) fn build() -> Result<Image> {
    if let Ok(image) = find() {
        say(&format!("{} is there: {}", NAME, image.vmlinuz.display()));
        return Ok(image);
    }
    setup::ensure(&[For::Kernel])?;
    let dir = cache::dir("kernels")?.join(NAME);
    let scratch = cache::scratch(&dir)?;
    let source = source::of(&matrix::BULLSEYE, SOURCE)?.unpack(None, scratch.path())?;
    run(Command::new("patch").arg("-p1").arg("-d").arg(&source).arg("-i").arg(part("legacy.patch")))?;
    say("configuring and building it: about twenty minutes on two cores");
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    output(
        make(&source)
            .arg(format!("KCONFIG_ALLCONFIG={}", part("legacy.config").display()))
            .arg("allnoconfig"),
    )?;
    if let Err(error) = output(make(&source).arg(format!("-j{jobs}")).arg("bzImage")) {
        let left = scratch.keep();
        return Err(error.context(format!("cannot build {NAME}; its tree is left in {}", left.display())));
    }
    let release = output(make(&source).arg("kernelrelease"))?;
    let built = source.join("arch/x86/boot/bzImage");
    cache::create_dir(&dir)?;
    fs::copy(&built, dir.join("vmlinuz")).with_context(|| format!("no {}", built.display()))?;
    fs::write(dir.join("release"), &release)?;
    // Last: it says that all the rest is there.
    fs::write(dir.join("recipe"), recipe()?)?;
    say(&format!("built {} {}", NAME, release.trim()));
    find()
}

fn make(source: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-s").arg("-C").arg(source);
    make.arg(format!("CC={COMPILER}")).arg(format!("HOSTCC={COMPILER}"));
    // Cargo's own flags for make, and ours, mean nothing to the kernel's build.
    make.env_remove("MAKEFLAGS").env_remove("CFLAGS");
    make
}

fn part(name: &str) -> PathBuf {
    cache::workspace().join("xtask/lab/kernel").join(name)
}

/// What a built kernel was made by; another one is another kernel.
fn recipe() -> Result<Vec<u8>> {
    let mut recipe = fs::read(part("legacy.config"))?;
    recipe.extend(fs::read(part("legacy.patch"))?);
    Ok(recipe)
}
