//! A check from what was named to the exit code.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rcu_watch_core::forecast;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::audit::{CheckAnswer, CheckedFunction, Forecast, ForecastKind};
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::verdict::{Exit, FailOn};

use super::answer::{Known, answer, known, refuses, symbols};
use super::patch::{self, Patch};
use super::unpack;
use crate::audit::consent;
use crate::audit::prober::{BATCH, Probed, Prober, Way};
use crate::audit::progress::Progress;
use crate::audit::run::{conclude, header, plan_of};
use crate::audit::stop::Stop;
use crate::bpf::peek::Peek;
use crate::clock;
use crate::kernel;
use crate::kernel::mount::Tree;
use crate::kernel::outlook::entry::Wanted;
use crate::kernel::outlook::{self, Outlook};
use crate::session::refusal::refuse_if_unsupported;
use crate::session::start::header_of;
use crate::session::symbols::Symbols;
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
    wanted: Wanted,
    way: forecast::Way,
    /// The file that changes it.
    patch: Option<PatchFile>,
}

/// A livepatch that is not loaded.
#[derive(Clone)]
struct PatchFile {
    /// As it was named, without folder and ending.
    file: String,
    /// What its module will be called.
    module: String,
    /// Whether this function is its first: what holds for all of them is told once.
    is_first: bool,
}

/// What was named: module files as what they patch, all else as functions.
fn asked(targets: &[String]) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for target in targets {
        let is_file = target.contains('/') || target.ends_with(".ko") || target.contains(".ko.");
        if !is_file {
            let wanted = Wanted { function: target.clone(), object: None, sympos: 0 };
            asked.push(Asked { wanted, way: forecast::Way::Any, patch: None });
            continue;
        }
        let bytes = unpack::read(Path::new(target)).with_context(|| format!("cannot check {target}"))?;
        let Patch { name, functions } =
            patch::read(&bytes).with_context(|| format!("cannot check {target}"))?;
        let file = name_of(target);
        let module = name.unwrap_or_else(|| file.replace('-', "_"));
        for (index, patch::PatchedFunction { object, function, sympos }) in functions.into_iter().enumerate()
        {
            let (file, module) = (file.clone(), module.clone());
            asked.push(Asked {
                wanted: Wanted { function, object: Some(object), sympos },
                way: forecast::Way::Livepatch { sympos },
                patch: Some(PatchFile { file, module, is_first: index == 0 }),
            });
        }
    }
    Ok(asked)
}

/// A module file's name, without folder, packing and ending.
fn name_of(target: &str) -> String {
    let file = Path::new(target).file_name().unwrap_or_default().to_string_lossy();
    let unpacked = [".gz", ".xz", ".zst"].iter().find_map(|ending| file.strip_suffix(ending));
    let file = unpacked.unwrap_or(&file);
    file.strip_suffix(".ko").unwrap_or(file).to_owned()
}

/// Between two looks at the tasks, where no probe takes as long.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What is foreseen of a function.
fn foresee(outlook: &Outlook, index: usize, asked: &Asked) -> Vec<Forecast> {
    let is_loaded = |module: &str| Path::new("/sys/module").join(module).join("initstate").exists();
    let first = asked.patch.as_ref().filter(|patch| patch.is_first);
    let mut all = first.map_or_else(Vec::new, |patch| {
        let loaded = Some(patch.module.as_str()).filter(|module| is_loaded(module));
        forecast::of_patch(&outlook.kernel, loaded)
    });
    all.extend(forecast::of_function(&outlook.kernel, &outlook.targets[index]));
    all
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
        asked.iter().map(|asked| asked.wanted.function.clone()).chain(symbols().map(str::to_owned)).collect();
    facts.learn(&tree, &names);
    let plan = plan_of(&facts, Vec::new());
    let wanted: Vec<_> = asked.iter().map(|asked| (asked.wanted.clone(), asked.way)).collect();
    let mut outlook = outlook::read(&tree, &facts, &wanted, Peek::load);
    let known: Vec<Known> = asked
        .iter()
        .zip(&outlook.places)
        .map(|(asked, place)| known(&facts, &asked.wanted.function, place))
        .collect();
    let open: Vec<usize> =
        (0..asked.len()).filter(|&index| !matches!(known[index], Known::Final(..))).collect();
    let obstacle = if options.no_probe {
        Some("--no-probe".to_owned())
    } else {
        plan.refusals.first().map(ToString::to_string)
    };
    let observe = !open.is_empty() && obstacle.is_none();
    if observe && let Some(declined) = consent::ask(&cost(options, &asked, &open), options.yes)? {
        return Ok(declined.among(options.output.format.codes()));
    }
    let mut stream = sink::stream(&options.output, FailOn::Warning)?;
    let started = clock::now();
    let mut seen: Vec<Option<Probed>> = vec![None; asked.len()];
    let mut prober = None;
    let mut stop = Stop::new().context("cannot catch SIGINT and SIGTERM")?;
    let (first_look, looked) = (outlook.look(&tree), Instant::now());
    if observe {
        let mut probing = Prober::start(&facts, &plan.cpus, options.output.logs()).map_err(|error| {
            let header = header_of(&facts, &plan, "check");
            refuse_if_unsupported(&mut stream, options.output.format, header, error)
        })?;
        let header = header(&facts, &plan, &Err(kernel::support::Reason::new("")), &probing, "check");
        let header = rcu_watch_core::report::Header { blind_spots: Vec::new(), ..header };
        stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
        let mut symbols = Symbols::default();
        let mut progress = Progress::new("check");
        for batch in open.chunks(BATCH) {
            if stream.is_left() || stop.is_asked() {
                break;
            }
            let what = if batch.len() == 1 { "function" } else { "functions" };
            progress.phase(&format!("observing {} {what}", batch.len()), Duration::ZERO);
            let names: Vec<&str> = batch.iter().map(|&index| asked[index].wanted.function.as_str()).collect();
            let mut show = |done, all, _| progress.show(done, all, "");
            let mut way = Way {
                stream: &mut stream,
                symbols: &mut symbols,
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
    if first_look.as_ref().is_ok_and(|sat| !sat.sitting.is_empty()) {
        stop.wait(BETWEEN_LOOKS.saturating_sub(looked.elapsed()));
    }
    outlook.look_again(&tree, first_look);
    let why = obstacle.as_deref().unwrap_or("the check was ended before");
    let mut answers = Vec::new();
    for (index, ((asked, known), seen)) in asked.iter().zip(&known).zip(&seen).enumerate() {
        let (observed, why) = match seen {
            Some(Probed::Observed(observed)) => (Some(observed), ""),
            Some(Probed::No(reason) | Probed::Refused(reason)) => (None, reason.as_str()),
            None => (None, why),
        };
        let (answer, because) = answer(known, observed.ok_or(why));
        let forecasts = foresee(&outlook, index, asked);
        let is_refused = forecasts.iter().any(|forecast| forecast.kind == ForecastKind::Refused);
        let checked = CheckedFunction {
            function: asked.wanted.function.clone(),
            patch: asked.patch.as_ref().map(|patch| patch.file.clone()),
            object: outlook.places[index].object.clone(),
            answer,
            refuses: refuses(answer) || is_refused,
            because,
            observed: observed.cloned(),
            forecasts,
        };
        stream.send(clock::now(), None, Message::Checked(Box::new(checked.clone())))?;
        answers.push(checked);
    }
    let mut reasons = prober.as_ref().map_or_else(Vec::new, |prober| prober.sums.doubts());
    reasons.extend(doubts(&answers));
    if prober.as_ref().is_some_and(|prober| !prober.calibration().eqs_seen) {
        reasons.push("no CPU was seen idle within 2 s, so nothing that was seen could be judged".to_owned());
    }
    let verdict = match (answers.iter().any(|checked| checked.refuses), reasons.is_empty()) {
        (true, _) => RunVerdict::Findings,
        (false, true) => RunVerdict::Clean,
        // Nothing but the kernel stood in the way.
        (false, false) if !plan.refusals.is_empty() && !options.no_probe => RunVerdict::Unsupported,
        (false, false) => RunVerdict::Inconclusive,
    };
    let ended_by = match stop.is_asked() {
        _ if stream.is_left() => EndedBy::ClosedPipe,
        true => EndedBy::Signal,
        false => EndedBy::EndOfCheck,
    };
    match prober {
        Some(prober) => {
            conclude(stream, &prober, verdict, reasons, started.0, ended_by, options.output.format)
        }
        None => {
            let exit = Exit::of_run(verdict, false).among(options.output.format.codes());
            let summary = Summary { reasons, ..Summary::new(verdict, exit.code(), ended_by) };
            stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
            Ok(stream.finish(exit)?)
        }
    }
}

/// What was asked and could not be answered, and what may go wrong.
fn doubts(answers: &[CheckedFunction]) -> Vec<String> {
    let foresees =
        |checked: &CheckedFunction, kind| checked.forecasts.iter().any(|forecast| forecast.kind == kind);
    let is_open = |checked: &CheckedFunction| match checked.answer {
        CheckAnswer::Unknown => true,
        // What waits for its module is answered by that.
        CheckAnswer::NotFound => !foresees(checked, ForecastKind::Waits),
        _ => false,
    };
    // Who only traces does not wait for tasks.
    let is_unseen =
        |checked: &CheckedFunction| checked.patch.is_some() && foresees(checked, ForecastKind::Unseen);
    let count = |is: &dyn Fn(&CheckedFunction) -> bool, one: &str, many: &str| match answers
        .iter()
        .filter(|checked| is(checked))
        .count()
    {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let hangs = |checked: &CheckedFunction| foresees(checked, ForecastKind::MayHang);
    [
        count(&is_open, "function could not be judged", "functions could not be judged"),
        count(
            &hangs,
            "function has tasks in it that the transition of a livepatch would wait for",
            "functions have tasks in them that the transition of a livepatch would wait for",
        ),
        count(
            &is_unseen,
            "function may have tasks in it, which cannot be told",
            "functions may have tasks in them, which cannot be told",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cost(options: &CheckOptions, asked: &[Asked], open: &[usize]) -> Vec<String> {
    let names: Vec<&str> = open.iter().take(8).map(|&index| asked[index].wanted.function.as_str()).collect();
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
