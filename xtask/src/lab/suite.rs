//! Scenarios on kernels: grouped so that as many as can share a boot do, played, judged, and reported.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::accel::Accel;
use super::boot::{Guest, Programs};
use super::bpfcc;
use super::clients;
use super::console::{BootRecord, Output};
use super::image::Image;
use super::module;
use super::scenario::{Scenario, Tools};
use super::schema;
use super::screen::Screen;
use super::selftests;
use crate::process::say;
use crate::tally::Tally;

/// bpftrace brings a compiler.
const CLIENTS_MEMORY_MIB: u32 = 3072;

/// Scenarios that share one boot.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub image: Image,
    pub cpus: u32,
    /// More for the kernel's command line.
    pub append: &'static str,
    pub tools: Tools,
    pub scenarios: Vec<&'static Scenario>,
}

/// How a scenario went on a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub kernel: String,
    /// `uname -r`.
    pub release: String,
    pub scenario: &'static str,
    /// Empty: as expected.
    pub wrong: Vec<String>,
    /// The guest's kernel did not bear it: this is never tried again.
    pub harmed: bool,
    /// What was wrong at the first try, where this is the second.
    pub before: Vec<String>,
    pub took: Duration,
    /// The last words of its commands, for whoever must find out why.
    pub tail: Vec<String>,
}

/// What scenarios must have in common to share a boot: CPUs, command line, tools.
type Kind = (u32, &'static str, Tools);

/// One job for each kind of guest; scenarios that spoil theirs come last, each but the first in a boot of its own.
pub(crate) fn jobs(image: &Image, scenarios: &[&'static Scenario], cpus: Option<u32>) -> Vec<Job> {
    let mut by_machine: BTreeMap<Kind, Vec<Vec<&'static Scenario>>> = BTreeMap::new();
    let machine = |scenario: &Scenario| (cpus.unwrap_or(scenario.cpus), scenario.append, scenario.tools);
    for scenario in scenarios.iter().filter(|scenario| !scenario.last) {
        let boots = by_machine.entry(machine(scenario)).or_insert_with(|| vec![Vec::new()]);
        boots[0].push(*scenario);
    }
    for scenario in scenarios.iter().filter(|scenario| scenario.last) {
        let boots = by_machine.entry(machine(scenario)).or_default();
        match boots.iter_mut().find(|boot| boot.iter().all(|other| !other.last)) {
            Some(boot) => boot.push(scenario),
            None => boots.push(vec![scenario]),
        }
    }
    by_machine
        .into_iter()
        .flat_map(|(machine, boots)| boots.into_iter().map(move |scenarios| (machine, scenarios)))
        .map(|((cpus, append, tools), scenarios)| {
            let image = image.clone();
            Job { image, cpus, append, tools, scenarios }
        })
        .collect()
}

impl Job {
    /// A guest that plays all its scenarios, with the modules they need.
    pub(crate) fn guest(&self, memory_mib: u32, append: &str) -> Result<Guest> {
        let mut modules = Vec::new();
        for name in self.scenarios.iter().flat_map(|scenario| scenario.modules) {
            let module = module::build(name, &self.image)?;
            if !modules.contains(&module) {
                modules.push(module);
            }
        }
        let source = self.image.known.and_then(|kernel| kernel.sources.first());
        let (extra, memory_mib) = match (self.tools, source) {
            (Tools::Clients, Some(source)) => {
                let mut files = clients::files(source.release, &clients::ALL)?;
                files.extend(bpfcc::files(source.release, &self.image)?);
                (files, memory_mib.max(CLIENTS_MEMORY_MIB))
            }
            (Tools::Selftests, _) => (selftests::files(&self.image)?, memory_mib),
            _ => (Vec::new(), memory_mib),
        };
        Ok(Guest {
            image: self.image.clone(),
            cpus: self.cpus,
            memory_mib,
            append: format!("{append} {}", self.append).trim().to_owned(),
            modules,
            extra,
            counts: false,
            plan: self.scenarios.iter().flat_map(|scenario| scenario.plan()).collect(),
        })
    }

    pub(crate) fn judge(&self, record: &BootRecord) -> Vec<Outcome> {
        self.scenarios
            .iter()
            .map(|scenario| {
                let played = record.scenarios.iter().find(|played| played.name == scenario.name);
                Outcome {
                    kernel: self.image.name.clone(),
                    release: self.image.release.clone(),
                    scenario: scenario.name,
                    wrong: scenario.judge(record, &self.image.name),
                    harmed: record.panic.is_some()
                        || record.hung
                        || played.is_some_and(|played| scenario.splats(played).next().is_some()),
                    before: Vec::new(),
                    took: played.map_or(Duration::ZERO, |played| played.took),
                    tail: played.map(|played| tails(&played.commands)).unwrap_or_default(),
                }
            })
            .collect()
    }
}

/// Several boots beside each other, as many as there are processors: an emulated guest uses one. With the outcomes come
/// the files of the streams that the guests sent.
pub(crate) fn run_all(
    jobs: Vec<Job>,
    programs: &Programs,
    accel: Accel,
    memory_mib: u32,
) -> Result<(Vec<Outcome>, Vec<PathBuf>)> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    // Guests first, one after the other: building a module is no work for two at once.
    let mut guests = Vec::new();
    for job in jobs {
        guests.push((job.guest(memory_mib, "")?, job));
    }
    guests.reverse();
    let queue = Mutex::new(guests);
    let next = || queue.lock().ok()?.pop();
    let worker = || -> Result<(Vec<Outcome>, Vec<PathBuf>)> {
        let mut outcomes = Vec::new();
        let mut streams = Vec::new();
        while let Some((guest, job)) = next() {
            let start = Instant::now();
            let title = guest.title(accel);
            let record = guest.boot(programs, accel, &mut Screen::plain(&title))?;
            let (boot, all) = (record.boot_took.as_secs_f64(), start.elapsed().as_secs_f64());
            say(&format!("{title}: boot {boot:.1} s, all {all:.1} s"));
            let judged = job.judge(&record);
            judged.iter().for_each(Outcome::say);
            outcomes.extend(judged);
            streams.extend(schema::keep(&record, &job.image.name)?);
        }
        Ok((outcomes, streams))
    };
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a lab thread panicked"))))
            .collect::<Vec<_>>()
    });
    let mut all = (Vec::new(), Vec::new());
    for result in results {
        let (outcomes, streams) = result?;
        all.0.extend(outcomes);
        all.1.extend(streams);
    }
    Ok(all)
}

/// What was not met, as jobs of their own: how an emulated guest's processors take turns is chance, and a busy machine
/// stretches it. A second try is for that, never for a kernel that complained, and whoever ran the tests is told of it.
pub(crate) fn again(jobs: &[Job], outcomes: &[Outcome]) -> Vec<Job> {
    let deserves = |job: &Job, scenario: &Scenario| {
        outcomes.iter().any(|outcome| {
            let same = outcome.kernel == job.image.name && outcome.scenario == scenario.name;
            same && !outcome.is_met() && !outcome.harmed
        })
    };
    let with = |job: &Job| Job {
        scenarios: job.scenarios.iter().copied().filter(|scenario| deserves(job, scenario)).collect(),
        ..job.clone()
    };
    jobs.iter().map(with).filter(|job| !job.scenarios.is_empty()).collect()
}

/// Takes a second try in the place of the first.
pub(crate) fn replace(outcomes: &mut [Outcome], second: Outcome) {
    let first =
        outcomes.iter_mut().find(|first| first.kernel == second.kernel && first.scenario == second.scenario);
    if let Some(first) = first {
        let before = std::mem::take(&mut first.wrong);
        *first = Outcome { before, ..second };
    }
}

impl Outcome {
    pub(crate) fn is_met(&self) -> bool {
        self.wrong.is_empty()
    }

    pub(crate) fn count(&self, tally: &mut Tally) {
        let told = |wrong: &[String]| format!("{} on {}: {}", self.scenario, self.kernel, wrong.join("; "));
        match (self.is_met(), self.before.is_empty()) {
            (true, true) => tally.passed += 1,
            (true, false) => tally.pass_unsteadily(told(&self.before)),
            (false, _) => tally.fail(told(&self.wrong)),
        }
    }

    pub(crate) fn say(&self) {
        let Self { kernel, release: _, scenario, wrong, harmed: _, before: _, took, tail } = self;
        let verdict = if wrong.is_empty() { "ok" } else { "NOT MET" };
        say(&format!("{verdict}: {scenario} on {kernel}, {:.1} s", took.as_secs_f64()));
        for why in wrong {
            eprintln!("    {why}");
        }
        if !wrong.is_empty() {
            for line in tail {
                eprintln!("    | {line}");
            }
        }
    }
}

fn tails(commands: &BTreeMap<String, Output>) -> Vec<String> {
    const LINES: usize = 8;
    const WIDTH: usize = 300;
    let mut tail = Vec::new();
    for (label, Output { stdout, stderr, exit }) in commands {
        for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                tail.push(format!("{label} {name}: {}", line.chars().take(WIDTH).collect::<String>()));
            }
        }
        tail.push(format!(
            "{label}: {}",
            exit.map_or_else(|| "did not end".to_owned(), xtask::wire::Exit::encode)
        ));
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::super::scenario::catalog;
    use super::*;

    fn outcome(scenario: &'static str, wrong: &[&str], harmed: bool) -> Outcome {
        Outcome {
            kernel: "6.1".into(),
            release: "6.1".into(),
            scenario,
            wrong: wrong.iter().map(|&why| why.to_owned()).collect(),
            harmed,
            before: Vec::new(),
            took: Duration::ZERO,
            tail: Vec::new(),
        }
    }

    #[test]
    fn a_second_try_is_for_what_did_no_harm_and_is_told() {
        let image = Image { name: "6.1".into(), release: "6.1".into(), vmlinuz: PathBuf::new(), known: None };
        let names = ["clean", "handler", "nmi"];
        let scenarios: Vec<_> = names.iter().filter_map(|name| catalog::find(name)).collect();
        let jobs = jobs(&image, &scenarios, None);
        let mut outcomes = vec![
            outcome("clean", &[], false),
            outcome("handler", &["no finding"], false),
            outcome("nmi", &["the kernel said: BUG: "], true),
        ];
        let again = again(&jobs, &outcomes);
        let names: Vec<_> =
            again.iter().flat_map(|job| &job.scenarios).map(|scenario| scenario.name).collect();
        assert_eq!(names, ["handler"]);
        replace(&mut outcomes, outcome("handler", &[], false));
        let mut tally = Tally::default();
        outcomes.iter().for_each(|outcome| outcome.count(&mut tally));
        assert_eq!((tally.passed, tally.failed()), (2, 1));
        assert_eq!(outcomes[1].before, ["no finding"]);
    }

    #[test]
    fn a_boot_holds_one_number_of_cpus_and_a_spoiler_at_its_end() {
        let image = Image { name: "6.1".into(), release: "6.1".into(), vmlinuz: PathBuf::new(), known: None };
        let all: Vec<&'static Scenario> = catalog::all().collect();
        let jobs = jobs(&image, &all, None);
        assert_eq!(jobs.iter().map(|job| job.scenarios.len()).sum::<usize>(), all.len());
        for job in jobs {
            assert!(job.scenarios.iter().all(|scenario| scenario.cpus == job.cpus));
            assert!(job.scenarios.iter().all(|scenario| scenario.append == job.append));
            let (_, before) = job.scenarios.split_last().unwrap();
            assert!(before.iter().all(|scenario| !scenario.last));
        }
    }
}
