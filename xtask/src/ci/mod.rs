//! `cargo xtask ci`: every check that needs no guest.
//!
//! Format, lints, unit tests, and the rules of this tree that no linter knows: which module may name which, what may
//! be depended upon, how long a file may get.

mod dependencies;
mod imports;
mod source;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::process::{cargo, run, say};
use crate::setup::{self, For};
use crate::tally::Tally;

type Check = fn() -> Result<()>;

/// In the order in which a failure is cheapest to find.
const CHECKS: [(&str, Check); 8] = [
    ("format", || run(cargo().args(["fmt", "--all", "--check"]))),
    ("imports", imports::check),
    ("file lengths", source::files_are_short),
    ("dependencies", dependencies::check),
    ("lints", || {
        run(cargo().args(["clippy", "--quiet", "--locked", "--all-targets", "--", "-D", "warnings"]))
    }),
    ("lints of the BPF programs", bpf_programs),
    ("unit tests", || run(cargo().args(["test", "--quiet", "--locked"]))),
    ("xtask's guest half", guest_half),
];

#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// Only these checks, by name
    #[arg(value_name = "CHECK", value_parser = CHECKS.map(|(name, _)| name))]
    only: Vec<String>,
}

/// Runs them all, the failed ones not stopping the others.
pub(crate) fn check_all() -> Result<Tally> {
    check(&Ci { only: Vec::new() })
}

fn check(Ci { only }: &Ci) -> Result<Tally> {
    setup::ensure(&[For::Build, For::Checks])?;
    let mut tally = Tally::default();
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    for (name, check) in CHECKS.into_iter().filter(|(name, _)| is_wanted(name)) {
        let start = Instant::now();
        let outcome = check();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                tally.passed += 1;
                say(&format!("ok: {name}, {took:.1} s"));
            }
            Err(error) => {
                say(&format!("FAILED: {name}, {took:.1} s: {error:#}"));
                tally.fail(format!("{name}: {error:#}"));
            }
        }
    }
    Ok(tally)
}

pub(crate) fn ci(which: &Ci) -> Result<()> {
    let tally = check(which)?;
    if tally.failed() > 0 {
        bail!("{} of {} checks failed", tally.failed(), tally.failed() + tally.passed);
    }
    Ok(())
}

/// As if they were for this machine: clippy must be the compiler's own, and the compiler that knows BPF may come without.
/// The feature that aya-ebpf uses is unstable; unwinding would want an item that programs without a standard library
/// do not have.
fn bpf_programs() -> Result<()> {
    let target = crate::cache::target().join("bpf-lints");
    let what = ["clippy", "--quiet", "--locked", "--package", "rcu-watch-ebpf", "--target-dir"];
    run(cargo()
        .args(what)
        .arg(target)
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "aya_ebpf")
        .env("CARGO_PROFILE_DEV_PANIC", "abort")
        // Of aya-build: without it, what reads a processor's registers is not there.
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\""))
}

/// It is built without the host's dependencies; nothing but this proves that it can be.
fn guest_half() -> Result<()> {
    let what = ["clippy", "--quiet", "--locked", "--package", "xtask", "--no-default-features"];
    run(cargo().args(what).args(["--bin", "lab_init", "--", "-D", "warnings"]))
}
