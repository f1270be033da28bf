//! The guest's whole file system, as a cpio archive in the kernel's `newc` format.
//!
//! PID 1, rcu-watch, the scenarios' modules and the plan; busybox for `-- sh` where it could be had. Uncompressed:
//! unpacking under emulation takes longer than reading.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cpio::newc::{Builder, trailer};
use xtask::plan::{MODULES_DIR, PLAN_PATH, Step};

const DIRS: [&str; 11] =
    ["bin", "dev", "dev/pts", "etc", "lab", "lab/modules", "proc", "run", "sys", "tmp", "lib"];

/// Commands that busybox gives by name; all others by `busybox NAME`.
const APPLETS: [&str; 36] = [
    "ash", "awk", "cat", "chmod", "cut", "dd", "dmesg", "echo", "env", "find", "free", "grep", "head", "id",
    "insmod", "kill", "ls", "lsmod", "mkdir", "mount", "ps", "rm", "rmmod", "sed", "sh", "sleep", "sort",
    "su", "tail", "taskset", "timeout", "top", "tr", "uname", "uniq", "wc",
];

/// Other names of PID 1's program.
const COMMANDS: [&str; 16] = [
    "lab-as",
    "lab-cycle",
    "lab-dir",
    "lab-empty",
    "lab-flood",
    "lab-head",
    "lab-held",
    "lab-insmod",
    "lab-load",
    "lab-merge",
    "lab-observe",
    "lab-spin",
    "lab-stopped",
    "lab-switch",
    "lab-work",
    "lab-write",
];

/// What goes in.
#[derive(Debug)]
pub(crate) struct Content {
    pub init: PathBuf,
    pub rcu_watch: Option<PathBuf>,
    pub busybox: Option<PathBuf>,
    pub modules: Vec<PathBuf>,
    pub extra: Vec<Extra>,
    pub plan: Vec<Step>,
}

/// A file beyond what every guest has.
#[derive(Clone, Debug)]
pub(crate) struct Extra {
    /// Where it goes, without the leading slash.
    pub path: String,
    pub content: ExtraContent,
}

#[derive(Clone, Debug)]
pub(crate) enum ExtraContent {
    /// A copy of a file of this machine's, executable.
    File(PathBuf),
    Text(String),
    /// A symbolic link to there.
    Link(String),
}

/// Writes the archive.
pub(crate) fn write(content: &Content, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut archive = Archive { writer: Some(BufWriter::new(file)), inode: 1 };
    let Content { init, rcu_watch, busybox, modules, extra, plan } = content;
    for dir in DIRS {
        archive.entry(dir, 0o040_755, b"")?;
    }
    archive.file("init", init)?;
    for command in COMMANDS {
        archive.entry(&format!("bin/{command}"), 0o120_777, b"/init")?;
    }
    archive.entry(
        "etc/passwd",
        0o100_644,
        b"root:x:0:0::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n",
    )?;
    if let Some(rcu_watch) = rcu_watch {
        archive.file("bin/rcu-watch", rcu_watch)?;
    }
    if let Some(busybox) = busybox {
        archive.file("bin/busybox", busybox)?;
        for applet in APPLETS {
            archive.entry(&format!("bin/{applet}"), 0o120_777, b"busybox")?;
        }
    }
    for module in modules {
        let name = module.file_name().context("a module has no file name")?.to_string_lossy();
        archive.file(&format!("{}/{name}", &MODULES_DIR[1..]), module)?;
    }
    archive.extra(extra)?;
    let lines: Vec<String> = plan.iter().map(Step::encode).collect();
    archive.entry(&PLAN_PATH[1..], 0o100_644, lines.join("\n").as_bytes())?;
    archive.finish()
}

struct Archive<W: Write> {
    /// Taken while an entry is written, which owns it.
    writer: Option<W>,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.entry(name, 0o100_755, &bytes)
    }

    /// Directories on the way are made.
    fn extra(&mut self, extra: &[Extra]) -> Result<()> {
        let mut made: BTreeSet<&str> = DIRS.into_iter().collect();
        for Extra { path, content } in extra {
            for (end, _) in path.match_indices('/') {
                if made.insert(&path[..end]) {
                    self.entry(&path[..end], 0o040_755, b"")?;
                }
            }
            match content {
                ExtraContent::File(from) => self.file(path, from)?,
                ExtraContent::Text(text) => self.entry(path, 0o100_644, text.as_bytes())?,
                ExtraContent::Link(to) => self.entry(path, 0o120_777, to.as_bytes())?,
            }
        }
        Ok(())
    }

    /// `mode` holds the kind of the entry too; a symbolic link's content is its target.
    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let writer = self.writer.take().context("the archive is at its end")?;
        let len = u32::try_from(bytes.len()).context("a file is too large for an initramfs")?;
        let mut entry = Builder::new(name).ino(self.inode).mode(mode).write(writer, len);
        io::copy(&mut Cursor::new(bytes), &mut entry)?;
        self.writer = Some(entry.finish()?);
        self.inode += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let writer = self.writer.take().context("the archive is at its end")?;
        trailer(writer)?.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_reads_back_with_its_links_and_modes() {
        let mut bytes = Vec::new();
        let mut archive = Archive { writer: Some(&mut bytes), inode: 1 };
        archive.entry("lab", 0o040_755, b"").unwrap();
        archive.entry("bin/lab-load", 0o120_777, b"/init").unwrap();
        archive.finish().unwrap();
        let mut reader = cpio::newc::Reader::new(bytes.as_slice()).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("lab", 0o040_755));
        reader = cpio::newc::Reader::new(reader.finish().unwrap()).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("bin/lab-load", 0o120_777));
        let mut target = Vec::new();
        let rest = reader.to_writer(&mut target).unwrap();
        assert_eq!(target, b"/init");
        assert!(cpio::newc::Reader::new(rest).unwrap().entry().is_trailer());
    }
}
