//! `cargo xtask bench guest`: what a hook costs, in instructions of a guest whose time is counted in them.
//!
//! One CPU, and virtual time = guest instructions: the figures are the same on every machine and in every run,
//! whatever else the machine does. Only busy time equals instructions, so the work never idles; what idle hooks
//! cost is had by running their programs by hand. Memory and floods need a usual guest with two CPUs.

mod bpftrace;
mod measured;
mod plan;
mod table;
mod usual;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use super::document;
use crate::cache;
use crate::lab;
use crate::process::{output, say};
use crate::setup::{self, For};
use measured::Measured;
use plan::Observer;
use usual::Usual;

#[derive(Debug, Args)]
pub(crate) struct Guest {
    /// Kernels to measure on (repeatable)
    #[arg(long, value_name = "NAME", default_values = ["6.1", "sid"])]
    kernel: Vec<String>,
    /// This rcu-watch, and not one built now
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// These observers only, nobody being one of them (repeatable; writes nothing)
    #[arg(long, value_name = "NAME")]
    only: Vec<Observer>,
    /// Leave docs/performance.md as it is
    #[arg(long)]
    no_write: bool,
}

pub(super) fn run(args: &Guest) -> Result<()> {
    setup::ensure(&[For::Build, For::Lab])?;
    let observers = if args.only.is_empty() { &Observer::ALL[..] } else { &args.only };
    let (mut counted, mut usual) = (Vec::new(), Vec::new());
    for kernel in &args.kernel {
        let lab = lab::Bench::with_binary(kernel, args.binary.clone())?;
        counted.push((lab.release().to_owned(), measure(&lab, kernel, observers)?));
        if !args.only.is_empty() {
            continue;
        }
        say(&format!("{}: memory and flood, with two CPUs", lab.release()));
        usual.push(usual::measure(&lab)?);
    }
    let text = text(&counted, &usual)?;
    print!("{text}");
    if !args.no_write && args.only.is_empty() {
        document::replace("bench guest", &text)?;
    }
    Ok(())
}

fn measure(lab: &lab::Bench, kernel: &str, observers: &[Observer]) -> Result<Measured> {
    let files = bpftrace::files(kernel)?;
    say(&format!("{}: counting instructions; under emulation this takes minutes", lab.release()));
    let measured = Measured::of(&lab.boot_counting(files, plan::steps(observers))?, observers)?;
    let path = cache::target().join("lab").join(format!("{}.bench", lab.release()));
    fs::write(&path, measured.lines()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(measured)
}

/// What goes into the document: how it was measured, and both tables.
fn text(counted: &[(String, Measured)], usual: &[Usual]) -> Result<String> {
    let qemu = output(Command::new(lab::QEMU).arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default();
    let mut failed = String::new();
    for (release, measured) in counted {
        for why in &measured.failed {
            let why = why.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
            failed.push_str(&format!("\nOn {release} {why}\n"));
        }
    }
    Ok(format!(
        "Written by `cargo xtask bench guest`. {qemu}, one CPU, `-icount shift=0,sleep=off`: a nanosecond of the \
         guest is an instruction, so the machine does not matter. A figure is what runs while a fixed piece of \
         work is done, interrupts and the observer included, less the same work with nobody looking on, by hit. \
         The scripts for bpftrace are in xtask/bench; it hooks `sched_switch` as a tracepoint, since this version \
         has no raw ones.\n\n{}\n{}\nFlood: both CPUs switch contexts as fast as they can, and every hit is sent, \
         judged and drawn, but not printed.\n{failed}",
        table::markdown(counted),
        usual::markdown(usual)
    ))
}
