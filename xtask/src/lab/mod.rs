//! The lab: real, unmodified kernels in QEMU, with an initramfs of our own.
//!
//! kernel (matrix, apt) + initramfs (PID 1, rcu-watch, modules, plan) -> qemu -> console -> record -> expectations.
//! Exit codes: 0 met, 1 not met (a panic included), 4 a kernel is not to be had, 69 the lab itself broke; with a
//! command of one's own, the command's code, and 255 on a panic.

mod accel;
pub(crate) mod apt;
mod boot;
mod bpfcc;
mod busybox;
pub(crate) mod clients;
pub(crate) mod console;
mod headers;
mod image;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod legacy;
pub(crate) mod matrix;
mod mirror;
mod module;
mod monitor;
mod qemu;
mod results;
mod scenario;
mod schema;
mod screen;
mod selftests;
mod source;
pub(crate) mod suite;
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use xtask::plan::Step;

use crate::dist;
use crate::process::say;
use crate::setup::{self, For};
use crate::tally::Tally;
use accel::Accel;
use boot::{Guest, Programs};
use console::BootRecord;
use image::{Image, Unavailable};
use initramfs::Extra;
use scenario::{Scenario, catalog};
use screen::Screen;

/// The program that is every machine of the lab.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

const NOT_MET: u8 = 1;
const SKIPPED: u8 = 4;
const BROKE: u8 = 69;
const PANICKED: u8 = 255;

const MEMORY_MIB: u32 = 1024;
/// A compiler, its libraries, and what it needs to work.
const COUNTING_MEMORY_MIB: u32 = 3072;

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Boot a kernel and run scenarios, or a command of your own
    Run(Run),
    /// Build a kernel of our own, once: legacy, where RCU's old entry functions can be hooked (20 minutes)
    Kernel {
        #[arg(value_parser = [legacy::NAME])]
        name: String,
    },
    /// The kernels and scenarios that there are
    List,
    /// Write docs/support-matrix.md anew, from the scenarios and the recorded results
    Matrix,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Kernel: 5.10, 6.1, 6.12, sid, legacy (see `lab kernel`), or the path of a bzImage
    #[arg(long, default_value = "6.1")]
    kernel: String,
    /// Scenario to play, any number of times; without: all that say something on the kernel, but for the long ones
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    scenario: Vec<String>,
    /// CPUs of the guest [default: the scenario's, or 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: Option<u32>,
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
    /// Record what the scenarios came to, for the support matrix
    #[arg(long, conflicts_with = "command")]
    record: bool,
    /// Show the kernel's console
    #[arg(short, long)]
    verbose: bool,
    /// Command to run in the guest (rcu-watch, sh, lab-load SECONDS, ...)
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs it and maps what happened to an exit code.
pub(crate) fn main(lab: &Lab) -> ExitCode {
    let outcome = match lab {
        Lab::Run(run) => run.run(),
        Lab::Kernel { .. } => legacy::build().map(|_| 0),
        Lab::List => list(),
        Lab::Matrix => support::write().map(|()| 0),
    };
    outcome.map_or_else(|error| failure(&error), ExitCode::from)
}

/// What an error is to the caller: a skip, or a broken lab.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if let Some(unavailable) = error.downcast_ref::<Unavailable>() {
        say(&format!("skipped: {unavailable}"));
        return ExitCode::from(SKIPPED);
    }
    say(&format!("cannot go on: {error:#}"));
    ExitCode::from(BROKE)
}

impl Run {
    fn run(&self) -> Result<u8> {
        let scenarios = self.scenarios()?;
        setup::ensure(&[For::Lab])?;
        let image = kernel::find(&self.kernel)?;
        let programs = programs(self.binary.clone())?;
        let accel = self.accel.map_or_else(|| Accel::probe(&image.vmlinuz), Ok)?;
        if !self.command.is_empty() {
            return self.run_command(image, &programs, accel);
        }
        let mut code = 0;
        let mut streams = Vec::new();
        for job in suite::jobs(&image, &scenarios, self.cpus) {
            let mut guest = job.guest(self.memory, &self.append)?;
            guest.modules.extend(self.modules(&image)?);
            let mut screen = Screen::new(&guest.title(accel), true, self.verbose);
            let record = guest.boot(&programs, accel, &mut screen)?;
            let outcomes = job.judge(&record);
            for outcome in &outcomes {
                outcome.say();
                code = if outcome.is_met() { code } else { NOT_MET };
            }
            if self.record {
                results::record(&outcomes)?;
            }
            streams.extend(schema::keep(&record, &job.image.name)?);
        }
        if let Err(error) = schema::check(&streams) {
            say(&format!("NOT MET: a stream is not what docs/schema.json says: {error:#}"));
            code = NOT_MET;
        }
        Ok(code)
    }

    fn run_command(&self, image: Image, programs: &Programs, accel: Accel) -> Result<u8> {
        let limit = Duration::from_secs(self.limit);
        let guest = Guest {
            modules: self.modules(&image)?,
            image,
            cpus: self.cpus.unwrap_or(2),
            memory_mib: self.memory,
            append: self.append.clone(),
            extra: Vec::new(),
            counts: false,
            plan: vec![Step::Run { label: "command".into(), limit, argv: self.command.clone() }],
        };
        let mut screen = Screen::new(&guest.title(accel), true, self.verbose);
        command_code(&guest.boot(programs, accel, &mut screen)?)
    }

    /// Those named, or all that say something on this kernel; on a kernel that is only a file, all.
    fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        let known = matrix::find(&self.kernel).is_some() || self.kernel == legacy::NAME;
        let suits = |scenario: &Scenario| !known || scenario.kernels.contains(&self.kernel.as_str());
        if self.scenario.is_empty() {
            return Ok(catalog::all().filter(|scenario| suits(scenario) && !scenario.heavy).collect());
        }
        let named = self.scenario.iter().map(|name| match catalog::find(name) {
            Some(scenario) if suits(scenario) => Ok(scenario),
            Some(scenario) => {
                bail!("{name} says nothing on {}; it is for {}", self.kernel, scenario.kernels.join(", "))
            }
            None => bail!("no scenario {name}; `cargo xtask lab list` names them"),
        });
        named.collect()
    }

    fn modules(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let modules = self.module.iter().map(|name| {
            let path = PathBuf::from(name);
            if path.is_file() { Ok(path) } else { module::build(name, image) }
        });
        modules.collect()
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

/// What one boot needs that is not its own: kernel, programs, accelerator. For other tasks than `lab run`.
pub(crate) struct Bench {
    image: Image,
    programs: Programs,
    accel: Accel,
}

impl Bench {
    pub(crate) fn new(kernel: &str) -> Result<Self> {
        Self::with_binary(kernel, None)
    }

    /// With this rcu-watch, and not one built now.
    pub(crate) fn with_binary(kernel: &str, binary: Option<PathBuf>) -> Result<Self> {
        let image = kernel::find(kernel)?;
        let programs = programs(binary)?;
        let accel = Accel::probe(&image.vmlinuz)?;
        Ok(Self { image, programs, accel })
    }

    pub(crate) fn module(&self, name: &str) -> Result<PathBuf> {
        module::build(name, &self.image)
    }

    pub(crate) fn rcu_watch(&self) -> PathBuf {
        self.programs.rcu_watch.clone().unwrap_or_default()
    }

    /// As `uname -r` says it.
    pub(crate) fn release(&self) -> &str {
        &self.image.release
    }

    /// Two CPUs and nothing special; its commands' output is shown live.
    pub(crate) fn boot(&self, modules: Vec<PathBuf>, plan: Vec<Step>) -> Result<BootRecord> {
        let guest = self.guest(2, MEMORY_MIB, modules, plan);
        let mut screen = Screen::new(&guest.title(self.accel), true, false);
        guest.boot(&self.programs, self.accel, &mut screen)
    }

    /// Two CPUs and nothing special, in silence.
    pub(crate) fn boot_quietly(&self, plan: Vec<Step>) -> Result<BootRecord> {
        let guest = self.guest(2, MEMORY_MIB, Vec::new(), plan);
        let mut screen = Screen::new(&guest.title(self.accel), false, false);
        guest.boot(&self.programs, self.accel, &mut screen)
    }

    /// One CPU whose time is counted in instructions, in silence.
    pub(crate) fn boot_counting(&self, extra: Vec<Extra>, plan: Vec<Step>) -> Result<BootRecord> {
        let guest = Guest { extra, counts: true, ..self.guest(1, COUNTING_MEMORY_MIB, Vec::new(), plan) };
        let mut screen = Screen::new(&guest.title(Accel::Tcg), true, false);
        guest.boot(&self.programs, Accel::Tcg, &mut screen)
    }

    fn guest(&self, cpus: u32, memory_mib: u32, modules: Vec<PathBuf>, plan: Vec<Step>) -> Guest {
        Guest {
            image: self.image.clone(),
            cpus,
            memory_mib,
            append: String::new(),
            modules,
            extra: Vec::new(),
            counts: false,
            plan,
        }
    }
}

/// Every scenario on every kernel that it is about; a kernel that is not to be had is skipped, or fails if required.
///
/// The long scenarios only where asked for.
pub(crate) fn test_all(with_heavy: bool, record: bool) -> Result<Tally> {
    setup::ensure(&[For::Build, For::Lab])?;
    let mut tally = Tally::default();
    let mut jobs = Vec::new();
    for kernel in &matrix::KERNELS {
        let scenarios: Vec<&'static Scenario> =
            catalog::all().filter(|scenario| is_wanted(scenario, kernel.name, with_heavy)).collect();
        let mut missed = |count: usize, error: &anyhow::Error| {
            if kernel.required {
                let what = format!("{count} scenarios on {}, which is required: {error:#}", kernel.name);
                say(&format!("FAILED: {what}"));
                tally.fail_all(count, what);
            } else {
                say(&format!("SKIPPED: {count} scenarios on {}: {error:#}", kernel.name));
                tally.skipped += count;
            }
        };
        match kernel::find(kernel.name) {
            Ok(image) => {
                let (ready, rest): (Vec<_>, Vec<_>) = scenarios
                    .into_iter()
                    .map(|scenario| (scenario, built(scenario, &image)))
                    .partition(|(_, built)| built.is_ok());
                let ready: Vec<&'static Scenario> = ready.into_iter().map(|(scenario, _)| scenario).collect();
                jobs.extend(suite::jobs(&image, &ready, None));
                for error in rest.into_iter().filter_map(|(_, built)| built.err()) {
                    missed(1, &error);
                }
            }
            Err(error) => missed(scenarios.len(), &error),
        }
    }
    let Some(first) = jobs.first() else { return Ok(tally) };
    let accel = Accel::probe(&first.image.vmlinuz)?;
    let programs = programs(None)?;
    let (mut outcomes, mut streams) = suite::run_all(jobs.clone(), &programs, accel, MEMORY_MIB)?;
    let again = suite::again(&jobs, &outcomes);
    if !again.is_empty() {
        say("once more, what was not met and did no harm:");
        let (seconds, more) = suite::run_all(again, &programs, accel, MEMORY_MIB)?;
        for second in seconds {
            suite::replace(&mut outcomes, second);
        }
        streams.extend(more);
    }
    if record {
        results::record(&outcomes)?;
    }
    match schema::check(&streams) {
        Ok(()) => {
            say(&format!("ok: {} streams are what docs/schema.json says", streams.len()));
            tally.passed += 1;
        }
        Err(error) => {
            say(&format!("FAILED: a stream is not what docs/schema.json says: {error:#}"));
            tally.fail(format!("a stream is not what docs/schema.json says: {error:#}"));
        }
    }
    for outcome in &outcomes {
        outcome.count(&mut tally);
    }
    Ok(tally)
}

fn is_wanted(scenario: &Scenario, kernel: &str, with_heavy: bool) -> bool {
    scenario.kernels.contains(&kernel) && (with_heavy || !scenario.heavy)
}

/// Builds what it needs.
fn built(scenario: &Scenario, image: &Image) -> Result<()> {
    scenario.modules.iter().try_for_each(|name| module::build(name, image).map(drop))
}

fn list() -> Result<u8> {
    println!("kernels: {}, or the path of a bzImage", matrix::names());
    for scenario in catalog::all() {
        println!("{:<16} {:<20} {}", scenario.name, scenario.kernels.join(" "), scenario.about);
    }
    Ok(0)
}
