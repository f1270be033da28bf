//! An audit from its cost to its last line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcu_watch_core::report::Message;
use rcu_watch_core::report::audit::{AuditTotals, AuditVerdict, AuditWay, AuditedFunction, Observed};
use rcu_watch_core::report::header::Header;
use rcu_watch_core::report::summary::{Cost, EndedBy, RunVerdict, Summary};
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::verdict::{self, Exit, FailOn};

use super::consent;
use super::prober::{BATCH, Probed, Prober, Way};
use super::progress::Progress;
use super::resume::{Resume, Subject};
use super::stop::Stop;
use super::suspect::Suspect;
use super::trace::{BUFFER_KIB, Traced, Tracer, candidates};
use crate::clock;
use crate::kernel::facts::FtraceValidation;
use crate::kernel::mount::Tree;
use crate::kernel::plan::glob::Glob;
use crate::kernel::support::Reason;
use crate::kernel::{self, AttachPlan, Facts, Request, select};
use crate::session::refusal::{refuse, refuse_if_unsupported};
use crate::session::start::{header_of, layout_report};
use crate::session::symbols::Symbols;
use crate::sink;
use crate::sink::Stream;
use crate::sink::options::Format;

/// How long a probe stays on a suspect.
const CONFIRM: Duration = Duration::from_secs(3);
/// What attaching and detaching a batch takes, roughly, for the time left.
const BATCH_OVERHEAD: Duration = Duration::from_secs(4);

/// What to audit, how long, and how to say it.
#[derive(Clone, Debug)]
pub(crate) struct AuditOptions {
    /// All functions are traced this long.
    pub duration: Duration,
    /// Functions to audit; empty: all.
    pub functions: Vec<Glob>,
    /// CPUs to audit on; empty: all that are online.
    pub cpus: Vec<CpuId>,
    /// The machine may bear the cost: nobody is asked.
    pub yes: bool,
    /// What is done is kept there; where it exists, the audit goes on from it.
    pub resume: Option<PathBuf>,
    pub fail_on: FailOn,
    pub output: sink::Options,
}

/// Why nothing can be audited here; empty where something can. An audit needs what a watch needs.
pub(crate) fn plan_of(facts: &Facts, cpus: Vec<CpuId>) -> AttachPlan {
    let plan = select(facts, &Request { cpus, ..Request::default() });
    // Probes are chosen later: the plan's own are those of a watch.
    AttachPlan { cpus: plan.cpus, refusals: plan.refusals, ..AttachPlan::default() }
}

/// Runs `audit`.
///
/// # Errors
/// [`verdict::Unsupported`] where this kernel or these privileges do not allow it.
pub(crate) fn run(options: &AuditOptions) -> Result<Exit> {
    let tree = Tree::live();
    let mut facts = kernel::probe();
    let plan = plan_of(&facts, options.cpus.clone());
    if !plan.refusals.is_empty() {
        let mut stream = sink::stream(&options.output, options.fail_on)?;
        let header = header_of(&facts, &plan, "audit");
        let reasons = plan.refusals.iter().map(ToString::to_string).collect();
        return Err(refuse(&mut stream, options.output.format, header, "audit", reasons));
    }
    let tracer = Tracer::find(&tree, &facts);
    let subject = Subject {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        release: facts.release.clone(),
        functions: options.functions.iter().map(ToString::to_string).collect(),
    };
    let mut resume = Resume::open(options.resume.as_deref(), &subject)?;
    if let Some(declined) = consent::ask(&cost(options, &facts, &tracer, &plan.cpus, &resume)?, options.yes)?
    {
        return Ok(declined.among(options.output.format.codes()));
    }
    // The output has threads of its own, and the guard is to be forked before there are any.
    let guarded = match &tracer {
        Ok(tracer) => {
            Ok(tracer.guarded().context("cannot start the process that cleans up after this one")?)
        }
        Err(reason) => Err(reason),
    };
    let mut stream = sink::stream(&options.output, options.fail_on)?;
    let mut symbols = Symbols::default();
    let known = symbols.table().map(|_| ());
    known.context("cannot read /proc/kallsyms; run as root, with kernel.kptr_restrict at most 1")?;
    let mut stop = Stop::new().context("cannot catch SIGINT and SIGTERM")?;
    let mut progress = Progress::new("audit");
    let prober = Prober::start(&facts, &plan.cpus, options.output.logs()).map_err(|error| {
        let header = header_of(&facts, &plan, "audit");
        refuse_if_unsupported(&mut stream, options.output.format, header, error)
    })?;
    stream.send(
        clock::now(),
        None,
        Message::Header(Box::new(header(&facts, &plan, &tracer, &prober, "audit"))),
    )?;
    let started = clock::now();

    let traced = match resume.traced.take() {
        Some(traced) => traced,
        None => {
            let traced = match guarded {
                Ok(guarded) => guarded.trace(
                    &plan.cpus,
                    &options.functions,
                    options.duration,
                    symbols.table().context("cannot read /proc/kallsyms")?,
                    &mut stop,
                    &mut progress,
                )?,
                Err(reason) => candidates(&facts, &options.functions, reason),
            };
            if !stop.is_asked() {
                resume.keep_traced(&traced)?;
            }
            traced
        }
    };
    facts.learn(
        &tree,
        &traced.suspects.iter().map(|suspect| suspect.function.clone()).collect::<BTreeSet<_>>(),
    );
    let mut audit =
        Audit { options, facts, symbols, stream, stop, progress, prober, resume, audited: Vec::new() };
    audit.confirm(&traced.suspects)?;
    audit.finish(&traced, started.0)
}

/// The header of a run that puts probes on functions of its own choice.
pub(crate) fn header(
    facts: &Facts,
    plan: &AttachPlan,
    tracer: &Result<Tracer, Reason>,
    prober: &Prober,
    command: &str,
) -> Header {
    let mut header = header_of(facts, plan, command);
    let sentences = prober.calibration().sentences.clone();
    header.layout = Some(layout_report(prober.layout(), true, sentences));
    if let Err(Reason { why, remedy }) = tracer {
        header.blind_spots.push(rcu_watch_core::report::header::BlindSpot {
            what: "all functions at once".to_owned(),
            reason: why.clone(),
            remedy: remedy.clone(),
        });
    }
    header
}

fn cost(
    options: &AuditOptions,
    facts: &Facts,
    tracer: &Result<Tracer, Reason>,
    cpus: &[CpuId],
    resume: &Resume,
) -> Result<Vec<String>> {
    let mut lines = vec![format!(
        "rcu-watch audit of {}, {} CPUs: what it does to this machine",
        facts.release,
        cpus.len()
    )];
    match tracer {
        _ if resume.traced.is_some() => {
            lines.push("1. nothing: the suspects are known from the run that is resumed".to_owned());
        }
        Ok(tracer) => {
            let count = tracer.count(&options.functions)?;
            let tasks = if tracer.all_tasks {
                "all tasks, because there are nohz_full CPUs: everything slows down meanwhile"
            } else {
                "idle tasks only"
            };
            lines.push(format!(
                "1. the kernel's function tracer on {count} functions for {:.0} s, in a tracing instance of its own; \
                 {tasks}",
                options.duration.as_secs_f64()
            ));
            let mib = f64::from(BUFFER_KIB) * cpus.len() as f64 / 1024.0;
            lines.push(format!("   kernel text is patched twice; {mib:.1} MiB of trace buffers"));
            if facts.ftrace_validates_rcu != FtraceValidation::No {
                lines.push(
                    "   if this kernel's ftrace checks RCU, it may warn once in the kernel's log".to_owned(),
                );
            }
        }
        Err(reason) => lines.push(format!("1. nothing: {reason}; the known candidates are taken instead")),
    }
    lines.push(format!(
        "2. a probe on each function that ran in an EQS, {BATCH} at a time, for {} s: where RCU is off such a \
         probe is itself the hazard",
        CONFIRM.as_secs()
    ));
    lines.push("3. the same once more for each that was seen with RCU off, alone".to_owned());
    let seconds = options.duration + (CONFIRM + BATCH_OVERHEAD) * 3;
    lines.push(format!("about {} s in all, more if much is found; nothing of it stays", seconds.as_secs()));
    Ok(lines)
}

struct Audit<'a> {
    options: &'a AuditOptions,
    facts: Facts,
    symbols: Symbols,
    stream: Stream,
    stop: Stop,
    progress: Progress,
    prober: Prober,
    resume: Resume,
    audited: Vec<AuditedFunction>,
}

impl Audit<'_> {
    /// The second phase.
    fn confirm(&mut self, suspects: &[Suspect]) -> Result<()> {
        let mut left: Vec<&Suspect> = Vec::new();
        for suspect in suspects {
            match self.resume.watched(&suspect.function) {
                _ if suspect.is_rcu_internal() => {
                    let reason = "its job is to run while RCU is off".to_owned();
                    self.tell(suspect, AuditVerdict::RcuInternal, None, Some(reason));
                }
                Some(calls) => {
                    let reason = format!("an earlier run saw {calls} calls, and RCU watched each");
                    self.tell(suspect, AuditVerdict::Watched, None, Some(reason));
                }
                None => left.push(suspect),
            }
        }
        let mut exposed: Vec<(&Suspect, Observed)> = Vec::new();
        let batches: Vec<&[&Suspect]> = left.chunks(BATCH).collect();
        for (index, batch) in batches.iter().enumerate() {
            let rest = u32::try_from(batches.len() - index - 1).unwrap_or(u32::MAX);
            let name =
                format!("2/3 probing {} suspects, batch {} of {}", left.len(), index + 1, batches.len());
            self.progress.phase(&name, (CONFIRM + BATCH_OVERHEAD).saturating_mul(rest));
            let probed = self.probe(batch, false)?;
            for (place, &suspect) in batch.iter().enumerate() {
                match probed.get(place).cloned() {
                    Some(Probed::Observed(observed)) if observed.unwatched > 0 => {
                        exposed.push((suspect, observed));
                    }
                    probed => self.judge(suspect, probed)?,
                }
            }
        }
        // Alone: what ran there only because a probe of ours on another function called it drops out.
        for (index, (suspect, before)) in exposed.iter().enumerate() {
            let rest = u32::try_from(exposed.len() - index - 1).unwrap_or(u32::MAX);
            let name =
                format!("3/3 confirming {} alone, {} of {}", suspect.function, index + 1, exposed.len());
            self.progress.phase(&name, (CONFIRM + BATCH_OVERHEAD).saturating_mul(rest));
            match self.probe(&[suspect], true)?.pop() {
                Some(Probed::Observed(alone)) if alone.unwatched == 0 && alone.calls > 0 => {
                    let reason = format!(
                        "{} of {} calls ran with RCU off, and only while probes of ours sat on other functions",
                        before.unwatched, before.calls
                    );
                    self.tell(suspect, AuditVerdict::Watched, Some(alone), Some(reason));
                }
                probed => self.judge(suspect, probed)?,
            }
        }
        self.progress.wipe();
        Ok(())
    }

    /// One batch; nothing once the end was asked for, or nobody reads any more.
    fn probe(&mut self, batch: &[&Suspect], tell: bool) -> Result<Vec<Probed>> {
        if self.stop.is_asked() || self.stream.is_left() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = batch.iter().map(|suspect| suspect.function.as_str()).collect();
        let Self { facts, symbols, stream, stop, progress, prober, .. } = self;
        let mut show = |done, all, attaching: bool| {
            progress.show(done, all, if attaching { "attaching" } else { "watching" });
        };
        let mut way = Way { stream, symbols, stop, tell, progress: &mut show };
        let probed = prober.batch(facts, &names, CONFIRM, &mut way);
        self.progress.wipe();
        probed
    }

    fn judge(&mut self, suspect: &Suspect, probed: Option<Probed>) -> Result<()> {
        match probed {
            Some(Probed::Observed(observed)) if observed.unwatched > 0 => {
                self.tell(suspect, AuditVerdict::Exposed, Some(observed), None);
            }
            Some(Probed::Observed(observed)) if observed.calls > 0 => {
                self.resume.keep_watched(&suspect.function, observed.calls)?;
                self.tell(suspect, AuditVerdict::Watched, Some(observed), None);
            }
            Some(Probed::Observed(observed)) => {
                let reason = "nothing called it while its probe was there".to_owned();
                self.tell(suspect, AuditVerdict::NotSeen, Some(observed), Some(reason));
            }
            Some(Probed::No(reason) | Probed::Refused(reason)) => {
                self.tell(suspect, AuditVerdict::NotProbed, None, Some(reason));
            }
            None => {
                let reason = "the audit was ended before".to_owned();
                self.tell(suspect, AuditVerdict::NotProbed, None, Some(reason));
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        suspect: &Suspect,
        verdict: AuditVerdict,
        observed: Option<Observed>,
        reason: Option<String>,
    ) {
        let Suspect { function, module, traced, caller } = suspect.clone();
        self.audited.push(AuditedFunction { function, module, verdict, traced, caller, observed, reason });
    }

    fn finish(mut self, traced: &Traced, started: u64) -> Result<Exit> {
        let with = |verdict| self.audited.iter().filter(|audited| audited.verdict == verdict).count() as u64;
        let totals = AuditTotals {
            exposed: with(AuditVerdict::Exposed),
            audited: traced.audited,
            suspects: traced.suspects.len() as u64,
            rcu_internal: with(AuditVerdict::RcuInternal),
            unconfirmed: with(AuditVerdict::NotProbed) + with(AuditVerdict::NotSeen),
            eqs_entries: traced.eqs_entries,
            traced_calls: traced.calls,
            gaps: traced.gaps,
            way: if traced.closed.is_some() { AuditWay::Candidates } else { AuditWay::FunctionTracer },
        };
        let ended = self.stop.is_asked() || self.stream.is_left();
        let mut reasons = self.prober.sums.doubts();
        if ended {
            reasons.push("the audit was ended before its time; --resume FILE lets it go on".to_owned());
        }
        match &traced.closed {
            Some(reason) => reasons.push(format!("only known candidates were probed: {reason}")),
            None if traced.eqs_entries == 0 => {
                reasons.push(
                    "no CPU went idle while it was traced; audit a machine that is not busy".to_owned(),
                );
            }
            None => {}
        }
        if !self.prober.calibration().eqs_seen {
            reasons.push("no CPU was seen idle within 2 s, so nothing was judged".to_owned());
        }
        self.audited.sort_by(|a, b| {
            let calls =
                |audited: &AuditedFunction| audited.observed.as_ref().map_or(0, |seen| seen.unwatched);
            a.verdict.cmp(&b.verdict).then(calls(b).cmp(&calls(a))).then(a.function.cmp(&b.function))
        });
        let told = std::mem::take(&mut self.audited)
            .into_iter()
            .map(|audited| Message::Audited(Box::new(audited)))
            .chain([Message::AuditTotals(totals)])
            .try_for_each(|message| self.stream.send(clock::now(), None, message));
        let verdict = verdict::judge(self.stream.worst(), self.options.fail_on, !reasons.is_empty());
        let ended_by = match ended {
            _ if self.stream.is_left() => EndedBy::ClosedPipe,
            true => EndedBy::Signal,
            false => EndedBy::EndOfAudit,
        };
        let Self { stream, prober, options, .. } = self;
        told?;
        conclude(stream, &prober, verdict, reasons, started, ended_by, options.output.format)
    }
}

/// The summary of a run that probed functions of its own choice.
pub(crate) fn conclude(
    mut stream: Stream,
    prober: &Prober,
    verdict: RunVerdict,
    reasons: Vec<String>,
    started: u64,
    ended_by: EndedBy,
    format: Format,
) -> Result<Exit> {
    let exit = Exit::of_run(verdict, false).among(format.codes());
    let own = clock::own_cost()?;
    let sums = &prober.sums;
    let summary = Summary {
        reasons,
        elapsed_ns: Nanos(clock::now().0.saturating_sub(started)),
        totals: sums.totals,
        findings: sums.findings.clone(),
        rules: sums.rules(),
        books: sums.books.clone(),
        output_dropped: stream.dropped(),
        cost: Cost {
            user_cpu_seconds: own.cpu_seconds,
            resident_bytes: own.resident_bytes,
            max_resident_bytes: own.max_resident_bytes,
            ..Cost::default()
        },
        ..Summary::new(verdict, exit.code(), ended_by)
    };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(exit)?)
}
