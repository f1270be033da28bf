//! A check from what was named to the exit code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcu_watch_core::report::Message;
use rcu_watch_core::report::audit::{CheckAnswer, CheckedFunction};
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::verdict::{Exit, FailOn};

use super::answer::{Known, answer, known, refuses, symbols};
use super::patch;
use crate::audit::consent;
use crate::audit::prober::{BATCH, Probed, Prober, Way};
use crate::audit::progress::Progress;
use crate::audit::run::{conclude, header, plan_of};
use crate::audit::stop::Stop;
use crate::clock;
use crate::kernel;
use crate::kernel::mount::Tree;
use crate::kernel::symbol::SymbolTable;
use crate::session::refusal::refuse_if_unsupported;
use crate::session::start::header_of;
use crate::sink;

/// What to check, how long, and how to say it.
#[derive(Clone, Debug)]
pub(crate) struct CheckOptions {
    /// Functions, or livepatch modules by their file.
    pub targets: Vec<String>,
    /// Each function is observed this long.
    pub duration: Duration,
    /// Probes may be placed: nobody is asked.
    pub yes: bool,
    /// Only say what is known.
    pub no_probe: bool,
    pub output: sink::Options,
}

/// A function that was asked about.
struct Asked {
    function: String,
    object: String,
    /// The file that changes it.
    patch: Option<String>,
}

/// What was named: module files as what they patch, all else as functions.
fn asked(targets: &[String]) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for target in targets {
        let is_file = target.contains('/') || target.ends_with(".ko") || target.contains(".ko.");
        if !is_file {
            asked.push(Asked { function: target.clone(), object: "vmlinux".to_owned(), patch: None });
            continue;
        }
        let bytes = fs::read(target).with_context(|| format!("cannot read {target}"))?;
        let functions = patch::functions(&bytes).with_context(|| format!("cannot check {target}"))?;
        let name = Path::new(target).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        asked.extend(functions.into_iter().map(|patch::PatchedFunction { object, function }| Asked {
            function,
            object,
            patch: Some(name.clone()),
        }));
    }
    Ok(asked)
}

/// Runs `check`.
///
/// # Errors
/// Where a file cannot be read as a livepatch, or nobody may be asked.
pub(crate) fn run(options: &CheckOptions) -> Result<Exit> {
    let asked = asked(&options.targets)?;
    let tree = Tree::live();
    let mut facts = kernel::probe();
    let names: BTreeSet<String> =
        asked.iter().map(|asked| asked.function.clone()).chain(symbols().map(str::to_owned)).collect();
    facts.learn(&tree, &names);
    let plan = plan_of(&facts, Vec::new());
    let known: Vec<Known> = asked.iter().map(|asked| known(&facts, &asked.object, &asked.function)).collect();
    let open: Vec<usize> =
        (0..asked.len()).filter(|&index| !matches!(known[index], Known::Final(..))).collect();
    let obstacle = if options.no_probe {
        Some("--no-probe".to_owned())
    } else {
        plan.refusals.first().map(ToString::to_string)
    };
    let observe = !open.is_empty() && obstacle.is_none();
    if observe && !consent::ask(&cost(options, &asked, &open), options.yes)? {
        return Ok(Exit::Clean);
    }
    let mut stream = sink::stream(&options.output, FailOn::Warning)?;
    let started = clock::now();
    let mut seen: Vec<Option<Probed>> = vec![None; asked.len()];
    let mut prober = None;
    let mut stop = Stop::new().context("cannot catch SIGINT and SIGTERM")?;
    if observe {
        let mut probing = Prober::start(&facts, &plan.cpus, options.output.logs()).map_err(|error| {
            let header = header_of(&facts, &plan, "check");
            refuse_if_unsupported(&mut stream, options.output.format, header, error)
        })?;
        let header = header(&facts, &plan, &Err(kernel::support::Reason::new("")), &probing, "check");
        let header = rcu_watch_core::report::Header { blind_spots: Vec::new(), ..header };
        stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
        let table = SymbolTable::load(Path::new("/proc/kallsyms")).context("cannot read /proc/kallsyms")?;
        let mut progress = Progress::new("check");
        for batch in open.chunks(BATCH) {
            let what = if batch.len() == 1 { "function" } else { "functions" };
            progress.phase(&format!("observing {} {what}", batch.len()), Duration::ZERO);
            let names: Vec<&str> = batch.iter().map(|&index| asked[index].function.as_str()).collect();
            let mut show = |done, all, _| progress.show(done, all, "");
            let mut way = Way {
                stream: &mut stream,
                symbols: &table,
                stop: &mut stop,
                tell: true,
                progress: &mut show,
            };
            let probed = probing.batch(&facts, &names, options.duration, &mut way)?;
            progress.wipe();
            for (&index, probed) in batch.iter().zip(probed) {
                seen[index] = Some(probed);
            }
        }
        prober = Some(probing);
    } else {
        let header = header_of(&facts, &plan, "check");
        stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
    }
    let why = obstacle.as_deref().unwrap_or("the check was ended before");
    let mut answers = Vec::new();
    for ((asked, known), seen) in asked.iter().zip(&known).zip(&seen) {
        let (observed, why) = match seen {
            Some(Probed::Observed(observed)) => (Some(observed), ""),
            Some(Probed::No(reason) | Probed::Refused(reason)) => (None, reason.as_str()),
            None => (None, why),
        };
        let (answer, because) = answer(known, observed.ok_or(why));
        answers.push(answer);
        let checked = CheckedFunction {
            function: asked.function.clone(),
            patch: asked.patch.clone(),
            object: asked.object.clone(),
            answer,
            refuses: refuses(answer),
            because,
            observed: observed.cloned(),
        };
        stream.send(clock::now(), None, Message::Checked(Box::new(checked)))?;
    }
    let mut reasons = prober.as_ref().map_or_else(Vec::new, |prober| prober.sums.doubts());
    reasons.extend(doubt(&answers));
    if prober.as_ref().is_some_and(|prober| !prober.calibration().eqs_seen) {
        reasons.push("no CPU was seen idle within 2 s, so nothing that was seen could be judged".to_owned());
    }
    let verdict = match (answers.iter().any(|&answer| refuses(answer)), reasons.is_empty()) {
        (true, _) => RunVerdict::Findings,
        (false, true) => RunVerdict::Clean,
        // Nothing but the kernel stood in the way.
        (false, false) if !plan.refusals.is_empty() && !options.no_probe => RunVerdict::Unsupported,
        (false, false) => RunVerdict::Inconclusive,
    };
    let ended_by = if stop.is_asked() { EndedBy::Signal } else { EndedBy::EndOfCheck };
    match prober {
        Some(prober) => {
            conclude(stream, &prober, verdict, reasons, started.0, ended_by, options.output.format)
        }
        None => {
            let exit = Exit::of_run(verdict, false).among(options.output.format.codes());
            let summary = Summary { reasons, ..Summary::new(verdict, exit.code(), ended_by) };
            stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
            stream.finish()?;
            Ok(exit)
        }
    }
}

/// What was asked and could not be answered.
fn doubt(answers: &[CheckAnswer]) -> Option<String> {
    let open = |answer: &&CheckAnswer| matches!(answer, CheckAnswer::NotFound | CheckAnswer::Unknown);
    match answers.iter().filter(open).count() {
        0 => None,
        1 => Some("1 function could not be judged".to_owned()),
        count => Some(format!("{count} functions could not be judged")),
    }
}

fn cost(options: &CheckOptions, asked: &[Asked], open: &[usize]) -> Vec<String> {
    let names: Vec<&str> = open.iter().take(8).map(|&index| asked[index].function.as_str()).collect();
    let more = if open.len() > names.len() { ", ..." } else { "" };
    vec![
        format!(
            "rcu-watch check puts a probe of its own on {} for {:.0} s: {}{more}",
            if open.len() == 1 { "1 function".to_owned() } else { format!("{} functions", open.len()) },
            options.duration.as_secs_f64(),
            names.join(", ")
        ),
        "if one of them runs with RCU off, that probe is itself the hazard; --no-probe only says what is known"
            .to_owned(),
    ]
}
