//! `cargo xtask bench host`: what user space costs a record, from its bytes to verdicts and to output.
//!
//! rcu-watch's own bench measures and prints the tables; this runs it, says on what machine, and keeps both.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::document;
use crate::process::cargo;
use crate::setup::{self, For};

pub(super) fn run() -> Result<()> {
    setup::ensure(&[For::Build])?;
    let mut command = cargo();
    command.args(["bench", "--quiet", "--locked", "--package", "rcu-watch", "--bench", "host"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the benchmark failed: {}", output.status);
    let tables = String::from_utf8(output.stdout).context("the benchmark printed no text")?;
    let text = format!(
        "## User space\n\nOn {}. CPU time (user and system) of one thread, the best of five rounds of a million \
         records; a whole replay once. `cargo xtask bench host` measures again and rewrites this part.\n\n{tables}",
        machine()?
    );
    print!("{text}");
    document::replace("bench host", &text)
}

/// What was measured on: processor, kernel, compiler.
fn machine() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let of = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ").map(|(_, value)| value.trim().to_owned())
    };
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    let compiler = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
    let compiler = String::from_utf8_lossy(&compiler.stdout).trim().to_owned();
    let guest = if info.contains("hypervisor") { ", a virtual machine" } else { "" };
    Ok(format!(
        "{} ({cpus} CPUs{guest}), Linux {}, {compiler}",
        of("model name").unwrap_or_else(|| "an unknown processor".to_owned()),
        kernel.trim()
    ))
}
