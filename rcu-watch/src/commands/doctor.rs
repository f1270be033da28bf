//! `rcu-watch doctor`: what this kernel, its configuration and this process's privileges allow, and what to
//! do about what is missing. Where the programs load, the layout is calibrated too; nothing stays attached.

use anyhow::{Result, bail};
use rcu_watch_core::calibration::Calibrated;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};
use rcu_watch_core::report::header::Proof;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::verdict::{Exit, FailOn};

use crate::bpf::watchpoint::try_own;
use crate::cli::args::DoctorArgs;
use crate::clock;
use crate::kernel::diagnosis::{self, diagnose};
use crate::kernel::{self, Request, select};
use crate::session::start::{calibrate, header_of, layout_report};
use crate::sink;
use crate::sink::options::Format;

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit> {
    if args.output.format == Format::Ktap {
        bail!("doctor judges no rule, so it has no KTAP; take -f text or -f json");
    }
    let mut stream = sink::stream(&(&args.output).into(), FailOn::Error)?;
    let facts = kernel::probe();
    let plan = select(&facts, &Request::default());
    let mut reasons: Vec<String> = plan.refusals.iter().map(ToString::to_string).collect();
    let mut checks = diagnose(&facts);
    if let Some(&cpu) = plan.cpus.first() {
        let row = diagnosis::watchpoint(&facts, || try_own(cpu));
        let last = checks.iter().rposition(|check| check.group == row.group);
        checks.insert(last.map_or(checks.len(), |index| index + 1), row);
    }
    let mut header = header_of(&facts, &plan, "doctor");
    header.plan = plan.report(|_| (None, Proof::NotAttached));
    header.layout = facts.layout.as_ref().ok().map(|layout| layout_report(layout, false, Vec::new()));
    let (state, detail, remedy) = if reasons.is_empty() {
        match calibrate(&facts, &plan.cpus) {
            Ok((layout, Calibrated { eqs_seen, sentences, .. })) => {
                let detail = sentences.join("; ");
                header.layout = Some(layout_report(&layout, true, sentences));
                if eqs_seen {
                    (CheckState::Ok, detail, None)
                } else {
                    let remedy = "run it again when some CPU is idle".to_owned();
                    (CheckState::Lacking, format!("{detail}; no CPU was seen idle within 2 s"), Some(remedy))
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                reasons.push(error.clone());
                (CheckState::Blocking, error, None)
            }
        }
    } else {
        (CheckState::Unknown, "not tried: see what says NO".to_owned(), None)
    };
    checks.push(Check {
        group: CheckGroup::State,
        name: "calibration".to_owned(),
        state,
        detail,
        needs: Vec::new(),
        remedy,
    });
    stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
    for check in checks {
        stream.send(clock::now(), None, Message::Check(check))?;
    }
    let verdict = if reasons.is_empty() { RunVerdict::Clean } else { RunVerdict::Unsupported };
    let exit = Exit::of_run(verdict, false);
    let summary = Summary { reasons, ..Summary::new(verdict, exit.code(), EndedBy::Diagnosis) };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(exit)?)
}
