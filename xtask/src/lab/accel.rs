//! Who executes the guest's instructions: KVM where it works, else emulation.
//!
//! A `/dev/kvm` that opens proves little: inside some virtual machines it runs a few instructions and then no
//! kernel. So a kernel is booted with it, without any file system: the panic at the missing root is the proof.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::QEMU;
use crate::cache;
use crate::process::say;

/// A working KVM is there within two.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
const PROOF: &str = "Kernel panic - not syncing: VFS";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    Kvm,
    /// One thread for all CPUs: with one each, QEMU lets a CPU run stale code while the kernel patches its own text,
    /// and the guest dies of an int3 that is no longer there.
    Tcg,
}

impl Accel {
    /// KVM if it boots this kernel. The answer is kept until this machine boots again.
    pub(crate) fn probe(vmlinuz: &Path) -> Result<Self> {
        if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Ok(Self::Tcg);
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let kept = cache::dir("accel")?.join(boot_id.trim());
        if let Some(accel) = fs::read_to_string(&kept).ok().and_then(|text| Self::from_str(&text, false).ok())
        {
            return Ok(accel);
        }
        say("trying whether KVM runs a kernel here");
        let accel = if boots_with_kvm(vmlinuz)? { Self::Kvm } else { Self::Tcg };
        say(&format!("using {}", accel.name()));
        fs::write(&kept, accel.name()).with_context(|| format!("cannot write {}", kept.display()))?;
        Ok(accel)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=single",
        }
    }
}

fn boots_with_kvm(vmlinuz: &Path) -> Result<bool> {
    let mut child = Command::new(QEMU)
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-accel", "kvm", "-cpu", "max", "-m", "512"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(vmlinuz)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {QEMU}; run `cargo xtask setup`"))?;
    let stdout = child.stdout.take().context("QEMU has no standard output")?;
    let (sender, proof) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).split(b'\n').map_while(std::result::Result::ok);
        if lines.any(|line| String::from_utf8_lossy(&line).contains(PROOF)) {
            let _ = sender.send(());
        }
    });
    let proven = proof.recv_timeout(PROBE_LIMIT).is_ok();
    let _ = child.kill();
    child.wait().context("cannot wait for QEMU")?;
    Ok(proven)
}
