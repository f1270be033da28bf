//! Scenarios: what is done to a guest, and what must and must not be reported, as data.
//!
//! A scenario's steps are played by the guest's PID 1; its expectations are judged here, on what came back. Several
//! share one boot, so each leaves the guest as it found it; one that cannot is played last.

pub(super) mod catalog;
pub(super) mod expect;
pub(super) mod stream;

use xtask::plan::Step;

use super::console::{BootRecord, ScenarioRecord};
use expect::{Evidence, Expect};

/// What a guest has beside rcu-watch and the lab's own commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tools {
    #[default]
    None,
    /// Debian's tracing tools, those of the kernel's own release.
    Clients,
    /// The kernel's own tests of livepatching, and what they run.
    Selftests,
}

/// One scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// Kernels of the matrix on which it says something.
    pub kernels: &'static [&'static str],
    pub cpus: u32,
    /// In xtask/lab/modules.
    pub modules: &'static [&'static str],
    pub tools: Tools,
    /// The guest is of no use for another scenario after this one.
    pub last: bool,
    /// Played by name, or with all; too long for every run of the tests.
    pub heavy: bool,
    /// Why it says nothing on the other kernels of the matrix; empty where it is for all.
    pub elsewhere: &'static str,
    /// More for the kernel's command line.
    pub append: &'static str,
    /// What the kernel may complain of, with good reason, of what the scenario does to it.
    pub provokes: Option<&'static str>,
    pub steps: fn() -> Vec<Step>,
    pub expect: &'static [Expect],
}

impl Scenario {
    /// What most of them have in common; it says nothing by itself.
    pub(crate) const USUAL: Self = Self {
        name: "",
        about: "",
        kernels: &[],
        cpus: 2,
        modules: &[],
        tools: Tools::None,
        last: false,
        heavy: false,
        elsewhere: "",
        append: "",
        provokes: None,
        steps: Vec::new,
        expect: &[],
    };

    /// Its part of a plan.
    pub(crate) fn plan(&self) -> Vec<Step> {
        let mut plan = vec![Step::Scenario { name: self.name.to_owned() }];
        plan.extend((self.steps)());
        plan
    }

    /// What was not as it must be; empty where all was.
    pub(crate) fn judge(&self, boot: &BootRecord, kernel: &str) -> Vec<String> {
        let Some(record) = boot.scenarios.iter().find(|record| record.name == self.name) else {
            return vec![end_of(boot).unwrap_or_else(|| "it was never reached".to_owned())];
        };
        let mut wrong: Vec<String> =
            record.failed.iter().map(|why| format!("a step failed: {why}")).collect();
        wrong.extend(self.splats(record).map(|line| format!("the kernel said: {line}")));
        let is_last = boot.scenarios.last().is_some_and(|last| last.name == record.name);
        wrong.extend(end_of(boot).filter(|_| is_last));
        let evidence = Evidence::of(record);
        wrong.extend(self.expect.iter().filter_map(|expect| expect.judge(&evidence, kernel).err()));
        wrong
    }

    /// First do no harm: a watched kernel has nothing to complain about.
    pub(crate) fn splats<'a>(&self, record: &'a ScenarioRecord) -> impl Iterator<Item = &'a String> {
        const SPLATS: [&str; 6] =
            ["WARNING: ", "BUG: ", "Oops: ", "general protection fault", "rcu: INFO: ", "RCU not on for"];
        let provokes = self.provokes;
        let of_a_splat = |line: &&String| SPLATS.iter().any(|splat| line.contains(splat));
        record
            .kernel
            .iter()
            .filter(of_a_splat)
            .filter(move |line| !provokes.is_some_and(|provoked| line.contains(provoked)))
    }
}

/// How the guest ended, where that was not at the end of its plan.
fn end_of(boot: &BootRecord) -> Option<String> {
    match boot {
        BootRecord { panic: Some(line), .. } => Some(format!("the guest panicked: {line}")),
        BootRecord { hung: true, .. } => Some("the guest hung and was killed".to_owned()),
        BootRecord { done: false, .. } => Some("the guest ended before its plan did".to_owned()),
        _ => None,
    }
}
