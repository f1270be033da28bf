//! Debian's bpftrace and its libraries, for the guest: what people would use instead, as they would get it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cache;
use crate::lab::apt::{Apt, Package, unpack};
use crate::lab::initramfs::{Extra, ExtraContent};
use crate::lab::matrix::BOOKWORM;
use crate::process::say;

const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where packages keep shared libraries.
const PLACES: [&str; 3] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/llvm-14/lib"];
/// Of the closure, but bpftrace does not link it: 57 MB.
const UNUSED: &str = "libclang-cpp";

/// The scripts, as they are for kernels from 6.12 on.
const QUIET: &str = include_str!("../../../bench/quiet.bt");
const ALL: &str = include_str!("../../../bench/all.bt");

/// Where the guest finds the scripts.
pub(super) const QUIET_PATH: &str = "lab/quiet.bt";
pub(super) const ALL_PATH: &str = "lab/all.bt";

/// bpftrace, its libraries, and the scripts with the names that `kernel` gives to the words.
pub(super) fn files(kernel: &str) -> Result<Vec<Extra>> {
    let root = cache::dir("bpftrace")?.join("root");
    if !root.join("usr/bin/bpftrace").is_file() {
        fetch(&root)?;
    }
    let program = ExtraContent::File(root.join("usr/bin/bpftrace"));
    let mut files = vec![Extra { path: "bin/bpftrace".into(), content: program }];
    for place in PLACES {
        files.extend(libraries(&root.join(place))?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    let loader = ExtraContent::Link(format!("/{LIBRARIES}/{LOADER}"));
    files.push(Extra { path: format!("lib64/{LOADER}"), content: loader });
    for (path, script) in [(QUIET_PATH, QUIET), (ALL_PATH, ALL)] {
        files.push(Extra { path: path.into(), content: ExtraContent::Text(for_kernel(script, kernel)) });
    }
    Ok(files)
}

/// Up to 6.11 the members had other names.
fn for_kernel(script: &str, kernel: &str) -> String {
    if kernel != "6.1" {
        return script.to_owned();
    }
    script.replace("->nmi_nesting", "->dynticks_nmi_nesting").replace("->nesting", "->dynticks_nesting")
}

/// All in one directory of the guest; a link points beside itself.
fn libraries(dir: &Path) -> Result<Vec<Extra>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(".so") || name.starts_with(UNUSED) {
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

fn fetch(root: &Path) -> Result<()> {
    say("fetching bpftrace and its libraries from bookworm");
    let scratch = cache::scratch(root)?;
    let apt = Apt::open(&BOOKWORM)?;
    let packages: Vec<_> = apt.closure("bpftrace", |name| !name.starts_with(UNUSED))?;
    // Of another package's exact version a security suite may have a newer one.
    let packages: Vec<_> = packages.into_iter().map(Package::of_any_version).collect();
    let unpacked = scratch.path().join("root");
    for package in apt.download(&packages, &scratch.path().join("packages"))? {
        unpack(&package, &unpacked)?;
    }
    fs::rename(&unpacked, root).context("cannot put bpftrace into the cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_gets_its_own_names_of_the_words() {
        let old = for_kernel(QUIET, "6.1");
        assert!(old.contains("->dynticks_nmi_nesting") && !old.contains("->nmi_nesting"));
        assert!(old.contains("->dynticks_nesting") && !old.contains("->nesting"));
        assert_eq!(for_kernel(ALL, "sid"), ALL);
    }
}
