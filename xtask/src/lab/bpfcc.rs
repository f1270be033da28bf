//! One of bpfcc's tools as Debian ships it, for a guest: Python, the compiler's library, and the kernel's headers.
//!
//! bpfcc compiles C in the guest, against the headers that it finds by /lib/modules. Of those only what a program that
//! traces includes is taken along: all of them would double the guest's files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::clients::{self, Client};
use super::headers;
use super::image::Image;
use super::initramfs::{Extra, ExtraContent};
use super::matrix::Release;

const TOOL: Client = Client { package: "bpfcc-tools", program: "usr/sbin/funccount-bpfcc" };
/// As the tool's first line wants it.
const INTERPRETER: &str = "usr/bin/python3";
const PYTHON: &str = "usr/bin/python3.11";
/// Python's own modules, and the one that the tools use.
const MODULES: [&str; 2] = ["usr/lib/python3.11", "usr/lib/python3/dist-packages/bcc"];
/// Of both of the packages that the headers come in, the general one and the configured one.
const HEADERS: [&str; 6] = [
    "include/linux",
    "include/asm-generic",
    "include/uapi",
    "include/vdso",
    "include/generated",
    "arch/x86/include",
];

/// All that the tool needs in a guest with this kernel.
pub(super) fn files(release: &Release, image: &Image) -> Result<Vec<Extra>> {
    let is_wanted = |name: &str| {
        clients::is_library(name) || name.starts_with("libclang-cpp") || name.starts_with("python3")
    };
    let root = clients::unpacked(release, &TOOL, is_wanted)?;
    let mut files = clients::libraries_in(&root)?;
    files.push(Extra {
        path: "bin/funccount-bpfcc".into(),
        content: ExtraContent::File(root.join(TOOL.program)),
    });
    files.push(Extra { path: PYTHON.into(), content: ExtraContent::File(root.join(PYTHON)) });
    files.push(Extra { path: INTERPRETER.into(), content: ExtraContent::Link(format!("/{PYTHON}")) });
    for modules in MODULES {
        tree(&root.join(modules), modules, &mut files)?;
    }
    headers(image, &mut files)?;
    Ok(files)
}

fn headers(image: &Image, files: &mut Vec<Extra>) -> Result<()> {
    let configured = headers::of(image)?.directory;
    let name = configured.file_name().unwrap_or_default().to_string_lossy().replace("-amd64", "-common");
    let general = configured.with_file_name(name);
    for (name, from) in [("build", &configured), ("source", &general)] {
        let to = format!("lib/modules/{}/{name}", image.release);
        for part in HEADERS {
            tree(&from.join(part), &format!("{to}/{part}"), files)?;
        }
    }
    Ok(())
}

/// A directory with all that is below it, if it is there.
fn tree(from: &Path, to: &str, files: &mut Vec<Extra>) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let at = format!("{to}/{}", name.to_str().with_context(|| format!("odd name: {}", path.display()))?);
        if kind.is_dir() {
            tree(&path, &at, files)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path)?.to_string_lossy().into_owned();
            files.push(Extra { path: at, content: ExtraContent::Link(target) });
        } else {
            files.push(Extra { path: at, content: ExtraContent::File(path) });
        }
    }
    Ok(())
}
