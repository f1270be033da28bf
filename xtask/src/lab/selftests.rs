//! The kernel's own tests of livepatching, for a guest: scripts, modules, and Debian's programs that the scripts run.
//!
//! They come from Debian's source package of the kernel, and their modules are built against its headers, so they are
//! what the kernel's developers run. Their scripts compare the kernel's log line by line: busybox's idea of `diff` or of
//! an error's text would not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::clients::{self, Client};
use super::image::Image;
use super::initramfs::{Extra, ExtraContent};
use super::{module, source};
use crate::cache;
use crate::process::{output, say};

const SOURCE: &str = "linux-source-6.12";
const TESTS: &str = "tools/testing/selftests/livepatch";
const MODULES: &str = "test_modules";
/// Calls getpid again and again; the tests' only program.
const PROGRAM: &str = "test_klp-call_getpid";
/// Where they are in the guest.
const PLACE: &str = "lab/selftests";

/// What the scripts run; what is not here is bash's own.
const PROGRAMS: [Client; 18] = [
    client("bash", "bin/bash"),
    client("coreutils", "bin/cat"),
    client("coreutils", "bin/date"),
    client("coreutils", "bin/sleep"),
    client("coreutils", "usr/bin/stat"),
    client("coreutils", "bin/uname"),
    client("coreutils", "usr/bin/dirname"),
    client("coreutils", "usr/bin/id"),
    client("coreutils", "usr/bin/seq"),
    client("coreutils", "usr/bin/tr"),
    client("diffutils", "usr/bin/diff"),
    client("grep", "bin/grep"),
    client("kmod", "bin/kmod"),
    client("libc-bin", "usr/bin/getconf"),
    client("mawk", "usr/bin/mawk"),
    client("procps", "sbin/sysctl"),
    client("sed", "bin/sed"),
    client("util-linux", "bin/dmesg"),
];
/// Other names of some of them.
const LINKS: [(&str, &str); 4] =
    [("awk", "mawk"), ("insmod", "kmod"), ("modinfo", "kmod"), ("rmmod", "kmod")];

const fn client(package: &'static str, program: &'static str) -> Client {
    Client { package, program }
}

/// All that the tests need in a guest with this kernel.
pub(super) fn files(image: &Image) -> Result<Vec<Extra>> {
    let kernel = image.known.context("the kernel's own tests need one of the lab's own kernels")?;
    let release = kernel.sources.first().context("nobody knows where this kernel comes from")?.release;
    let mut files = clients::files(release, &PROGRAMS)?;
    for (name, of) in LINKS {
        files.push(Extra { path: format!("bin/{name}"), content: ExtraContent::Link(of.to_owned()) });
    }
    let tests = built(image)?;
    for (directory, ends) in [(tests.clone(), ".sh"), (tests.join(MODULES), ".ko")] {
        for entry in fs::read_dir(&directory)? {
            let file = entry?.path();
            if file.to_string_lossy().ends_with(ends) {
                files.push(placed(&tests, file)?);
            }
        }
    }
    files.push(placed(&tests, tests.join(PROGRAM))?);
    Ok(files)
}

fn placed(tests: &Path, file: PathBuf) -> Result<Extra> {
    let path = format!("{PLACE}/{}", file.strip_prefix(tests)?.display());
    Ok(Extra { path, content: ExtraContent::File(file) })
}

/// Where the tests are, with their modules and their program.
fn built(image: &Image) -> Result<PathBuf> {
    let root = cache::target().join("lab/selftests").join(&image.release);
    let tests = root.join(SOURCE).join(TESTS);
    // Built last.
    if tests.join(PROGRAM).is_file() {
        return Ok(tests);
    }
    let kernel = image.known.context("no source is known for this kernel")?;
    let release = kernel.sources.first().context("nobody knows where this kernel comes from")?.release;
    cache::create_dir(&root)?;
    source::of(release, SOURCE)?.unpack(Some(TESTS), &root)?;
    say(&format!("building the kernel's own tests of livepatching for {}", image.release));
    module::make(&tests.join(MODULES), image, &[])?;
    let program = tests.join(PROGRAM);
    output(
        Command::new("gcc-12").args(["-O2", "-static", "-o"]).arg(&program).arg(program.with_extension("c")),
    )
    .context("cannot build the tests' program; `cargo xtask setup` installs what it needs")?;
    Ok(tests)
}
