//! `cargo xtask setup`: what building and testing need, beside the cargo that runs this.
//!
//! Idempotent, and silent about what is there. System packages come from apt where this may install them; what cannot
//! be installed is said, with what to do by hand. The BPF linker is built into our own cache, where
//! `rcu-watch/build.rs` looks for it.

mod bpf;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::{cargo, on_path, output, run, say};

/// What a command of xtask is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Build the binary with its BPF programs.
    Build,
    /// Build kernel modules, boot guests.
    Lab,
    /// Format and lint.
    Checks,
    /// Build a kernel from source; no other command needs it.
    Kernel,
}

impl For {
    const ALL: [Self; 3] = [Self::Build, Self::Lab, Self::Checks];
}

/// Something that the system must bring.
struct Need {
    purpose: For,
    what: &'static str,
    why: &'static str,
    is_there: fn() -> bool,
    packages: &'static [&'static str],
    /// What to do where there is no apt.
    by_hand: &'static str,
}

static NEEDS: [Need; 11] = [
    Need {
        purpose: For::Build,
        what: "a C linker with a static C library",
        why: "rcu-watch is one static binary",
        is_there: has_static_libc,
        packages: &["gcc", "libc6-dev"],
        by_hand: "install gcc and the static glibc (glibc-static on Fedora)",
    },
    Need {
        purpose: For::Build,
        what: "a Rust compiler for BPF",
        why: "the programs in the kernel are Rust too",
        is_there: || bpf::compiler().is_some(),
        packages: &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
        by_hand: "rustup toolchain install nightly --component rust-src",
    },
    Need {
        purpose: For::Lab,
        what: "qemu-system-x86_64",
        why: "the lab boots kernels in it",
        is_there: || on_path("qemu-system-x86_64"),
        packages: &["qemu-system-x86"],
        by_hand: "install QEMU for x86",
    },
    Need {
        purpose: For::Lab,
        what: "gcc-12 and make",
        why: "the scenarios' kernel modules are built with them",
        is_there: || on_path("gcc-12") && on_path("make"),
        packages: &["gcc-12", "make"],
        by_hand: "install gcc 12, as gcc-12, and make",
    },
    Need {
        purpose: For::Lab,
        what: "libelf",
        why: "the kernel's objtool, which checks each module, is linked with it",
        is_there: has_libelf,
        packages: &["libelf1"],
        by_hand: "install libelf",
    },
    Need {
        purpose: For::Lab,
        what: "pahole",
        why: "headers that bring their kernel's types (6.12) have it give each module its own",
        is_there: || on_path("pahole"),
        packages: &["dwarves"],
        by_hand: "install pahole (dwarves)",
    },
    Need {
        purpose: For::Lab,
        what: "patchelf",
        why: "the newest kernel's modules are built with a compiler that brings its own libraries",
        is_there: || on_path("patchelf"),
        packages: &["patchelf"],
        by_hand: "install patchelf",
    },
    Need {
        purpose: For::Checks,
        what: "cargo fmt",
        why: "`cargo xtask ci` checks the format",
        is_there: || cargo_has("fmt"),
        packages: &["rustfmt-web"],
        by_hand: "rustup component add rustfmt",
    },
    Need {
        purpose: For::Checks,
        what: "cargo clippy",
        why: "`cargo xtask ci` runs the lints",
        is_there: || cargo_has("clippy"),
        packages: &["rust-web-clippy"],
        by_hand: "rustup component add clippy",
    },
    Need {
        purpose: For::Checks,
        what: "jq",
        why: "the pipelines that the README prints are run",
        is_there: || on_path("jq"),
        packages: &["jq"],
        by_hand: "install jq",
    },
    Need {
        purpose: For::Kernel,
        what: "what builds a kernel",
        why: "the legacy kernel is built from Debian's source",
        is_there: || {
            ["gcc-12", "make", "flex", "bison", "bc", "patch", "xz", "pahole"]
                .iter()
                .all(|tool| on_path(tool))
                && Path::new("/usr/include/libelf.h").exists()
        },
        packages: &["gcc-12", "make", "flex", "bison", "bc", "patch", "xz-utils", "dwarves", "libelf-dev"],
        by_hand: "install gcc 12 as gcc-12, make, flex, bison, bc, patch, xz, pahole and libelf's headers",
    },
];

/// `cargo xtask setup`.
pub(crate) fn setup() -> Result<()> {
    ensure(&For::ALL)?;
    say("all that building and testing need is here");
    Ok(())
}

/// Installs what is missing for these purposes.
pub(crate) fn ensure(purposes: &[For]) -> Result<()> {
    let missing: Vec<&Need> =
        NEEDS.iter().filter(|need| purposes.contains(&need.purpose) && !(need.is_there)()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    if purposes.contains(&For::Build) {
        bpf::ensure_linker()?;
    }
    Ok(())
}

fn install(missing: &[&Need]) -> Result<()> {
    for Need { what, why, packages, .. } in missing {
        say(&format!("missing: {what} ({why}); Debian: {}", packages.join(" ")));
    }
    // A cargo of rustup's takes its components from rustup, and not from the distribution.
    let (components, rest): (Vec<&Need>, Vec<&Need>) =
        missing.iter().partition(|need| need.purpose == For::Checks && cargo_is_rustups());
    for need in components {
        let component = need.what.trim_start_matches("cargo ").replace("fmt", "rustfmt");
        run(Command::new("rustup").args(["component", "add", &component]))?;
    }
    let packages: Vec<&str> = rest.iter().flat_map(|need| need.packages).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = || {
        let lines: Vec<String> =
            rest.iter().map(|need| format!("  {}: {}", need.what, need.by_hand)).collect();
        format!("as root: apt-get install {}\nor, without apt:\n{}", packages.join(" "), lines.join("\n"))
    };
    let Some(apt) = apt_get() else {
        bail!("cannot install packages here; do it by hand,\n{}", by_hand());
    };
    say(&format!("installing {}", packages.join(" ")));
    // The lists may be empty, or older than the archive.
    let installed = run(apt_command(&apt).arg("update")).and_then(|()| {
        run(apt_command(&apt).args(["install", "-y", "--no-install-recommends"]).args(&packages))
    });
    if let Err(error) = installed {
        bail!("{error:#}; do it by hand,\n{}", by_hand());
    }
    for need in rest {
        if !(need.is_there)() {
            bail!(
                "{} is still missing after its packages were installed; by hand: {}",
                need.what,
                need.by_hand
            );
        }
    }
    Ok(())
}

/// How to call apt-get with the rights to install: as root, or by a sudo that asks nothing.
fn apt_get() -> Option<Vec<&'static str>> {
    if !on_path("apt-get") {
        return None;
    }
    if output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0") {
        return Some(vec!["apt-get"]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
    sudo.is_ok_and(|status| status.success()).then(|| vec!["sudo", "-n", "apt-get"])
}

fn apt_command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn has_static_libc() -> bool {
    // gcc prints the bare name of a file that it does not have.
    output(Command::new("cc").arg("-print-file-name=libc.a"))
        .is_ok_and(|path| Path::new(path.trim()).is_absolute())
}

fn has_libelf() -> bool {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .any(|dir| Path::new(dir).join("libelf.so.1").exists())
}

fn cargo_has(subcommand: &str) -> bool {
    cargo().args([subcommand, "--version"]).output().is_ok_and(|output| output.status.success())
}

fn cargo_is_rustups() -> bool {
    on_path("rustup") && std::env::var_os("RUSTUP_TOOLCHAIN").is_some()
}
