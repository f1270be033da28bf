//! The lab: real, unmodified kernels in QEMU, with an initramfs of our own.
//!
//! kernel (matrix, apt) + initramfs (PID 1, rcu-watch, modules, plan) -> qemu -> console -> record -> expectations.
//! Exit codes: 0 met, 1 not met (a panic included), 4 a kernel is not to be had, 69 the lab itself broke; with a
//! command of one's own, the command's code, and 255 on a panic.

mod accel;
mod apt;
mod boot;
mod busybox;
mod console;
mod initramfs;
pub mod kernel;
pub mod matrix;
mod module;
mod qemu;
mod screen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use xtask::plan::Step;

use crate::dist;
use crate::process::say;
use crate::setup::{self, For};
use accel::Accel;
use boot::{Guest, Programs};
use console::BootRecord;
use screen::Screen;

const NOT_MET: u8 = 1;
const SKIPPED: u8 = 4;
const BROKE: u8 = 69;
const PANICKED: u8 = 255;

const MEMORY_MIB: u32 = 1024;

#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Boot a kernel and run scenarios, or a command of your own
    Run(Run),
    /// The kernels and scenarios that there are
    List,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Kernel: 5.10, 6.1, 6.12, sid, or the path of a bzImage
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// CPUs of the guest
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Memory of the guest
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_MIB)]
    memory: u32,
    /// This rcu-watch, and not one built now
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Kernel module to put into the guest's /lab/modules: a .ko, or the name of one in xtask/lab/modules
    #[arg(long, value_name = "KO|NAME")]
    module: Vec<String>,
    /// More for the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// Who executes the guest's instructions [default: kvm where it works, else tcg]
    #[arg(long)]
    accel: Option<Accel>,
    /// Limit for the command
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    limit: u64,
    /// Show the kernel's console
    #[arg(short, long)]
    verbose: bool,
    /// Command to run in the guest (rcu-watch, sh, lab-load SECONDS, ...)
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs it and maps what happened to an exit code.
pub fn main(lab: &Lab) -> ExitCode {
    let outcome = match lab {
        Lab::Run(run) => run.run(),
        Lab::List => list(),
    };
    outcome.map_or_else(|error| failure(&error), ExitCode::from)
}

/// What an error is to the caller: a skip, or a broken lab.
fn failure(error: &anyhow::Error) -> ExitCode {
    if let Some(unavailable) = error.downcast_ref::<kernel::Unavailable>() {
        say(&format!("skipped: {unavailable}"));
        return ExitCode::from(SKIPPED);
    }
    say(&format!("the lab broke: {error:#}"));
    ExitCode::from(BROKE)
}

impl Run {
    fn run(&self) -> Result<u8> {
        if self.command.is_empty() {
            bail!("nothing to run; give `-- CMD`");
        }
        setup::ensure(&[For::Lab])?;
        let image = kernel::find(&self.kernel)?;
        let programs = programs(self.binary.clone())?;
        let accel = self.accel.map_or_else(|| Accel::probe(&image.vmlinuz), Ok)?;
        let modules = self.module.iter().map(|name| {
            let path = PathBuf::from(name);
            if path.is_file() { Ok(path) } else { module::build(name, &image) }
        });
        let modules = modules.collect::<Result<Vec<_>>>()?;
        let plan = vec![Step::Run {
            label: "command".into(),
            limit: Duration::from_secs(self.limit),
            argv: self.command.clone(),
        }];
        let guest = Guest {
            image,
            cpus: self.cpus,
            memory_mib: self.memory,
            append: self.append.clone(),
            modules,
            plan,
        };
        let mut screen = Screen::new(&guest.title(accel), true, self.verbose);
        let record = guest.boot(&programs, accel, &mut screen)?;
        command_code(&record)
    }
}

/// The code of a command of one's own: its own, unless the guest did not live to see it.
fn command_code(record: &BootRecord) -> Result<u8> {
    if let Some(panic) = &record.panic {
        for line in record.console.iter().rev().take(60).rev() {
            eprintln!("| {line}");
        }
        say(&format!("the guest panicked: {panic}"));
        return Ok(PANICKED);
    }
    let exit = record.scenarios.iter().find_map(|scenario| scenario.commands.get("command")?.exit);
    match exit {
        Some(exit) => Ok(u8::try_from(exit.code()).unwrap_or(NOT_MET)),
        None if record.booted.is_none() => bail!("the guest did not come up; see its log in target/lab"),
        None => bail!("the guest ended before its command did; see its log in target/lab"),
    }
}

fn programs(binary: Option<PathBuf>) -> Result<Programs> {
    let rcu_watch = match binary {
        Some(binary) => binary,
        None => dist::binary()?,
    };
    Ok(Programs { init: dist::lab_init()?, rcu_watch: Some(rcu_watch), busybox: busybox::find() })
}

fn list() -> Result<u8> {
    println!("kernels: {}, or the path of a bzImage", matrix::names());
    Ok(0)
}
