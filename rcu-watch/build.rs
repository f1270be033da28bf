//! Builds the BPF programs of `rcu-watch-ebpf` for this binary to embed.
//!
//! They need a compiler that can target BPF: a nightly with rust-src, or a distribution's rustc with a
//! prebuilt `core` for `bpfel-unknown-none`. The first that is there is used, in the order of
//! [`toolchain`]; `RCU_WATCH_BPF_TOOLCHAIN` names one outright.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};
use object::build::elf::{Builder, SectionData};
use object::elf;

/// The binaries of rcu-watch-ebpf: one for each transport, one that logs, and one that reads kernel memory.
const OBJECTS: [&str; 4] = ["rcu-watch-bpf", "rcu-watch-bpf-log", "rcu-watch-bpf-perf", "rcu-watch-bpf-peek"];
const CHOICE: &str = "RCU_WATCH_BPF_TOOLCHAIN";

/// How the chosen compiler gets its `core` for BPF.
enum Core {
    Prebuilt,
    FromSource,
}

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={CHOICE}");
    let (name, core) = toolchain()?;
    let mut path: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    // Where `cargo xtask setup` puts bpf-linker; a linker on PATH serves as well.
    path.extend(cache().map(|dir| dir.join("tools/bin")));
    let path = env::join_paths(path).context("PATH holds a directory that cannot be joined")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo did not set OUT_DIR")?);
    let shared = shared_dir(&out);
    fs::create_dir_all(&shared).with_context(|| format!("cannot make {}", shared.display()))?;
    // SAFETY: a build script's main thread, before any other thread exists.
    unsafe {
        env::set_var("PATH", path);
        env::set_var("OUT_DIR", &shared);
        env::set_var(
            "RUSTC_BOOTSTRAP",
            match core {
                Core::Prebuilt => "aya_ebpf",
                Core::FromSource => "1",
            },
        );
    }
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../rcu-watch-ebpf");
    let root = root.to_str().context("the path of this checkout is not UTF-8")?;
    println!("cargo:rerun-if-changed={root}/../rcu-watch-common/src");
    aya_build::build_ebpf(
        [Package { name: "rcu-watch-ebpf", root_dir: root, ..Default::default() }],
        Toolchain::Custom(&name),
    )
    .context("cannot build the BPF programs; `cargo xtask setup` installs what they need")?;
    for object in OBJECTS {
        let from = shared.join(object);
        let whole = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let stripped = without_dwarf(&whole).with_context(|| format!("cannot strip {object}"))?;
        fs::write(out.join(object), stripped).with_context(|| format!("cannot write {object}"))?;
    }
    Ok(())
}

/// Three quarters of an object is DWARF, which is there for the linker to make BTF of: nobody reads it any more.
fn without_dwarf(whole: &[u8]) -> Result<Vec<u8>> {
    let mut object = Builder::read(whole)?;
    for section in &mut object.sections {
        section.delete =
            [".debug_", ".rel.debug_"].iter().any(|prefix| section.name.starts_with(prefix.as_bytes()));
    }
    object.delete_orphans();
    // The linker keeps the names of sections among those of symbols, the builder does not.
    let names = object.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(stripped)
}

/// One place below cargo's target directory for all profiles and targets: the BPF object is the same for each,
/// and its dependencies take longer to build than it does.
fn shared_dir(out: &Path) -> PathBuf {
    let target = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    target.map_or_else(|| out.to_owned(), |target| target.join("bpf"))
}

fn cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    Some(base.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?.join("rcu-watch"))
}

/// A rustup toolchain name, or the prefix of an installed one (`/usr`), and how it has BPF's `core`.
fn toolchain() -> Result<(String, Core)> {
    if let Ok(name) = env::var(CHOICE) {
        let core = core_of(&name).with_context(|| {
            format!("{CHOICE}={name} has neither a BPF core nor rust-src; unset it or name another toolchain")
        })?;
        return Ok((name, core));
    }
    for name in ["nightly", "/usr"] {
        if let Some(core) = core_of(name) {
            return Ok((name.to_owned(), core));
        }
    }
    bail!(
        "no compiler here can build for BPF; run `cargo xtask setup`, or install one by hand:\n  \
         rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n  \
         or, on Debian: apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf, then `cargo xtask setup`"
    )
}

fn core_of(name: &str) -> Option<Core> {
    let lib = if name.starts_with('/') {
        Path::new(name).join("lib/rustlib")
    } else {
        let out = Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output().ok()?;
        if !out.status.success() {
            return None;
        }
        Path::new(String::from_utf8(out.stdout).ok()?.trim()).join("lib/rustlib")
    };
    if lib.join("bpfel-unknown-none/lib").is_dir() {
        Some(Core::Prebuilt)
    } else if lib.join("src/rust/library/Cargo.lock").is_file() {
        Some(Core::FromSource)
    } else {
        None
    }
}
