//! `cargo xtask demo`: the break, live, in a guest. The host's kernel is never touched.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xtask::plan::Step;

use crate::lab;
use crate::process::say;
use crate::setup::{self, For};

const KERNEL: &str = "6.1";
const MODULE: &str = "lab_livepatch_idle";
const LIVEPATCH: &str = "/sys/kernel/livepatch/lab_livepatch_idle";
const WATCH: &str = "15s";
/// Loading and verifying under emulation, on top of the run itself.
const LIMIT: Duration = Duration::from_secs(120);

/// What makes a line the one that the demo is about.
const FINDING: [&str; 3] = ["RW001", "arch_cpu_idle", MODULE];

pub(crate) fn demo() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => lab::failure(&error),
    }
}

fn run() -> Result<()> {
    let start = Instant::now();
    say("1/4 what building and booting need");
    setup::ensure(&[For::Build, For::Lab])?;
    say(&format!("2/4 a stock Debian kernel {KERNEL}, and rcu-watch as one static binary"));
    let lab = lab::Bench::new(KERNEL)?;
    say("3/4 a livepatch of arch_cpu_idle, a function that this kernel calls with RCU off");
    let modules = vec![lab.module(MODULE)?];
    say(&format!("4/4 boot it, load the livepatch, and watch for {WATCH}"));
    let record = lab.boot(modules, plan())?;
    let Some(output) = record.scenarios.iter().find_map(|scenario| scenario.commands.get("rcu-watch")) else {
        bail!("rcu-watch never ran in the guest; see its log in target/lab");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = text.lines().filter(|line| FINDING.iter().all(|word| line.contains(word))).count();
    if shown == 0 {
        say("no RW001 on arch_cpu_idle was shown: the demo failed");
        bail!("expected a line with {}", FINDING.join(", "));
    }
    let code = output.exit.map_or_else(|| "nothing".to_owned(), xtask::wire::Exit::encode);
    say(&format!(
        "seen: {} in {:.0} s; rcu-watch ended with {code} (2: findings)",
        FINDING.join(" "),
        start.elapsed().as_secs_f64()
    ));
    say("next, on this machine's own kernel:");
    say(&format!("    sudo {}", lab.rcu_watch().display()));
    Ok(())
}

fn plan() -> Vec<Step> {
    let color = if io::stdout().is_terminal() { "always" } else { "never" };
    let argv = ["lab-merge", "rcu-watch", "--duration", WATCH, "--color", color].map(str::to_owned).to_vec();
    vec![
        Step::Scenario { name: "demo".into() },
        Step::LoadModule { name: MODULE.into(), params: String::new() },
        Step::Until { path: format!("{LIVEPATCH}/transition"), value: "0".into(), limit: LIMIT },
        Step::Run { label: "rcu-watch".into(), limit: LIMIT, argv },
    ]
}
