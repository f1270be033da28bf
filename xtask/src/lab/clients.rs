//! Debian's own tracing tools with their libraries, for a guest: what people use, as they get it.
//!
//! One release's packages are unpacked into the cache, never installed. A guest gets the programs in /bin and all
//! libraries in one directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt::{Apt, Package, unpack};
use super::initramfs::{Extra, ExtraContent};
use super::matrix::Release;
use crate::cache;
use crate::process::say;

const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where packages keep shared libraries.
const PLACES: [&str; 3] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/llvm-14/lib"];
/// Of bpftrace's closure, but it does not link it: 57 MB.
const UNUSED: &str = "libclang-cpp";

/// A program and the package that brings it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub package: &'static str,
    /// Its path in the package.
    pub program: &'static str,
}

pub(crate) const BPFTRACE: Client = Client { package: "bpftrace", program: "usr/bin/bpftrace" };

/// What scenarios with real clients have, beside a tool of bpfcc's; the last one is what those have become.
pub(super) const ALL: [Client; 5] = [
    BPFTRACE,
    Client { package: "bpftool", program: "usr/sbin/bpftool" },
    Client { package: "linux-perf", program: "usr/bin/perf" },
    Client { package: "trace-cmd", program: "usr/bin/trace-cmd" },
    Client { package: "libbpf-tools", program: "usr/sbin/funclatency" },
];

/// The programs of a release and every library that they link, each once.
pub(crate) fn files(release: &Release, clients: &[Client]) -> Result<Vec<Extra>> {
    let mut files = Vec::new();
    for client in clients {
        let root = unpacked(release, client, is_library)?;
        let program = root.join(client.program);
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(Extra { path: format!("bin/{name}"), content: ExtraContent::File(program) });
        files.extend(libraries_in(&root)?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    let loader = ExtraContent::Link(format!("/{LIBRARIES}/{LOADER}"));
    files.push(Extra { path: format!("lib64/{LOADER}"), content: loader });
    Ok(files)
}

/// The libraries of what was unpacked there.
pub(super) fn libraries_in(root: &Path) -> Result<Vec<Extra>> {
    let all = PLACES.iter().map(|place| libraries(&root.join(place)));
    Ok(all.collect::<Result<Vec<_>>>()?.concat())
}

/// All in one directory of the guest; a link points beside itself.
fn libraries(dir: &Path) -> Result<Vec<Extra>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(".so") {
            continue;
        }
        let content = match fs::read_link(&path) {
            Ok(target) => {
                let target = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // To a file of the same name elsewhere in the packages, which is taken from there.
                if target == name {
                    continue;
                }
                ExtraContent::Link(target)
            }
            Err(_) => ExtraContent::File(path),
        };
        found.push(Extra { path: format!("{LIBRARIES}/{name}"), content });
    }
    Ok(found)
}

/// What a program that is linked may need.
pub(super) fn is_library(name: &str) -> bool {
    (name.starts_with("lib") || name.starts_with("zlib1g")) && !name.starts_with(UNUSED)
}

/// Where a client's packages are, with those of what it depends on that are wanted; fetched if they are not in the
/// cache.
pub(super) fn unpacked(
    release: &Release,
    client: &Client,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<PathBuf> {
    let root = cache::dir("clients")?.join(release.name).join(client.package);
    if root.join(client.program).is_file() {
        return Ok(root);
    }
    say(&format!("fetching {} and what it needs from {}", client.package, release.name));
    let scratch = cache::scratch(&root)?;
    let apt = Apt::open(release)?;
    let packages: Vec<_> = apt.closure(client.package, is_wanted)?;
    // Of another package's exact version a security suite may have a newer one.
    let packages: Vec<_> = packages.into_iter().map(Package::of_any_version).collect();
    let unpacked = scratch.path().join("root");
    for package in apt.download(&packages, &scratch.path().join("packages"))? {
        unpack(&package, &unpacked)?;
    }
    let _ = fs::remove_dir_all(&root);
    fs::rename(&unpacked, &root).with_context(|| format!("cannot put {} into the cache", client.package))?;
    if !root.join(client.program).is_file() {
        anyhow::bail!("{} of {} has no {}", client.package, release.name, client.program);
    }
    Ok(root)
}
