//! One guest from its parts: initramfs, QEMU, the record of what happened, and a log of its console.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::plan::Step;

use super::accel::Accel;
use super::console::{BootRecord, follow};
use super::image::Image;
use super::initramfs::{self, Content, Extra};
use super::qemu::{Machine, Qemu};
use super::screen::Screen;
use crate::cache;

/// To user space; emulation of a loaded machine needs 15 to 30 s.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// What the steps of a plan need beside their own limits.
const STEP_SLACK: Duration = Duration::from_secs(2);

/// The programs that every guest gets.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub init: PathBuf,
    pub rcu_watch: Option<PathBuf>,
    pub busybox: Option<PathBuf>,
}

/// What is booted, and how.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub image: Image,
    pub cpus: u32,
    pub memory_mib: u32,
    pub append: String,
    pub modules: Vec<PathBuf>,
    pub extra: Vec<Extra>,
    /// Count time in instructions: one CPU, and emulated only.
    pub counts: bool,
    pub plan: Vec<Step>,
}

impl Guest {
    /// For progress lines and logs.
    pub(crate) fn title(&self, accel: Accel) -> String {
        let cpus = if self.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", self.cpus) };
        format!("{} ({}, {cpus})", self.image.release, accel.name())
    }

    /// Boots, plays the plan, and writes the console to a log in `target/lab`.
    pub(crate) fn boot(self, programs: &Programs, accel: Accel, screen: &mut Screen) -> Result<BootRecord> {
        // Not in the tree: the sockets need a short path.
        let scratch = tempfile::Builder::new().prefix("rcu-watch-lab.").tempdir();
        let scratch =
            scratch.context("cannot make a directory for the guest; set TMPDIR to one that is writable")?;
        let initramfs = scratch.path().join("initramfs.cpio");
        let limit = BOOT_LIMIT + self.plan.iter().map(|step| step.limit() + STEP_SLACK).sum::<Duration>();
        let Self { image, cpus, memory_mib, append, modules, extra, counts, plan } = self;
        let Programs { init, rcu_watch, busybox } = programs.clone();
        initramfs::write(&Content { init, rcu_watch, busybox, modules, extra, plan }, &initramfs)?;
        let machine = Machine { kernel: image.vmlinuz, initramfs, cpus, memory_mib, append, counts };
        let qemu = Qemu::start(&machine, accel, scratch.path())?;
        let record = follow(qemu, limit, |event| screen.show(event));
        screen.end();
        let record = record?;
        let log = cache::target().join("lab");
        cache::create_dir(&log)?;
        let log = log.join(format!("{}-{cpus}cpu.console.log", image.release));
        fs::write(&log, record.console.join("\n"))
            .with_context(|| format!("cannot write {}", log.display()))?;
        Ok(record)
    }
}
