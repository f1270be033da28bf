//! Captured kernels: the relevant lines of the four stock kernels of the lab, as they showed them to root.
//!
//! `tests/fixtures/kernel/RELEASE` is a tree of files in the shape of the kernel's own: kallsyms, tracefs,
//! debugfs, and a BTF cut down to the types that are looked for, its offsets and sizes untouched. That they have
//! `exc_debug` was looked up later, in their headers, and where it lies is made up.

mod attribution;
mod btf;
mod diagnosis;
mod follow;
mod grace_period;
mod layout;
mod legacy;
mod outlook;
mod plan;
mod signs;

use std::path::Path;

use crate::kernel::facts::Facts;
use crate::kernel::facts::ask::Ask;
use crate::kernel::facts::attribution::{Handled, merge};
use crate::kernel::facts::feature::Features;
use crate::kernel::facts::sightings::{Enabled, Sightings};
use crate::kernel::facts_of;
use crate::kernel::read::btf::FoundTypes;
use crate::kernel::read::event::ProbeEvent;
use crate::kernel::read::kprobe;
use crate::kernel::read::livepatch::{Livepatch, PatchedFunction};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::privilege::Privileges;
use crate::kernel::read::program::ProgramSites;
use crate::kernel::read::support::Reason;
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::tracer::{SetUpBy, Tracer};

const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];

/// A kernel that allows everything that its files show, with these programs loaded.
#[derive(Default)]
struct Captured(ProgramSites);

impl Ask for Captured {
    fn features(
        &self,
        _: &Tree,
        _: &Privileges,
        _: &FoundSymbols,
        _: &Result<FoundTypes, Reason>,
    ) -> Features {
        Features::all()
    }

    fn programs(&self, _: &Tree) -> Result<ProgramSites, Reason> {
        Ok(self.0.clone())
    }

    fn program_ids(&self) -> Vec<u32> {
        self.0.unplaced_tracing.iter().map(|program| program.id).collect()
    }
}

fn tree(kernel: &str) -> Tree {
    Tree::under(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel").join(kernel))
}

fn facts(kernel: &str) -> Facts {
    facts_of(&tree(kernel), &Captured::default())
}

/// A kernel on which `sightings` were made.
fn facts_with(kernel: &str, sightings: &Sightings) -> Facts {
    let mut facts = facts(kernel);
    facts.set_handled(&tree(kernel), merge(sightings));
    facts
}

/// What the sources say, as text that the kernel printed.
#[derive(Default)]
struct Seen<'a> {
    livepatched: &'a [&'a str],
    enabled: &'a str,
    kprobes: &'a str,
    programs: ProgramSites,
    events: Vec<ProbeEvent>,
    tracers: Vec<Tracer>,
    switches: Switches,
}

impl Seen<'_> {
    fn sightings(self) -> Sightings {
        let functions = self.livepatched.iter().map(|&function| PatchedFunction {
            patch: "lab_livepatch_idle".to_owned(),
            object: "vmlinux".to_owned(),
            function: function.to_owned(),
            sympos: 1,
        });
        let livepatch = Livepatch {
            inode: 1,
            name: "lab_livepatch_idle".to_owned(),
            enabled: true,
            in_transition: false,
            functions: functions.collect(),
            replace: None,
        };
        Sightings {
            livepatches: Ok(if self.livepatched.is_empty() { Vec::new() } else { vec![livepatch] }),
            enabled: Ok(Enabled::read(self.enabled.as_bytes(), |_| true).unwrap()),
            kprobes: Ok(kprobe::read(self.kprobes.as_bytes()).unwrap()),
            programs: Ok(self.programs),
            events: self.events,
            text_start: Some(0xffff_ffff_8100_0000),
            tracers: self.tracers,
            switches: self.switches,
            fprobe_looks_first: false,
            ftrace_validates: false,
            own_kprobes: crate::kernel::facts::own_kprobe::OwnKprobes::default(),
        }
    }

    fn handled(self) -> Handled {
        merge(&self.sightings())
    }
}

fn tracer(callback: &'static str) -> Tracer {
    Tracer {
        callback,
        functions: Some(vec!["arch_cpu_idle".to_owned()]),
        set_up_by: SetUpBy::Instance(None),
        records: true,
    }
}
