//! `rcu-watch probes`: the attach plan for this kernel, with reasons. Attaches nothing, and answers on every
//! kernel and without privileges, as far as what it may read goes.

use anyhow::Result;
use rcu_watch_core::report::Message;
use rcu_watch_core::report::header::Proof;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::verdict::{Exit, FailOn};

use crate::cli::args::ProbesArgs;
use crate::clock;
use crate::kernel::{self, Request, select};
use crate::session::start::{header_of, layout_report};
use crate::sink;

pub(crate) fn run(args: &ProbesArgs) -> Result<Exit> {
    let mut stream = sink::stream(&(&args.output).into(), FailOn::Error)?;
    let facts = kernel::probe();
    let plan = select(&facts, &Request::from(&args.scope));
    let mut header = header_of(&facts, &plan, "probes");
    header.layout = facts.layout.as_ref().ok().map(|layout| layout_report(layout, false, Vec::new()));
    header.plan = plan.report(|_| (None, Proof::NotAttached));
    stream.send(clock::now(), None, Message::Header(Box::new(header)))?;

    // What a run would say. To have printed the plan is a success in any case.
    let reasons: Vec<String> = plan.refusals.iter().map(ToString::to_string).collect();
    let reasons = if reasons.is_empty() { plan.unmet(|_| true) } else { reasons };
    let verdict = match (plan.refusals.is_empty(), reasons.is_empty()) {
        (false, _) => RunVerdict::Unsupported,
        (true, false) => RunVerdict::Inconclusive,
        (true, true) => RunVerdict::Clean,
    };
    let summary = Summary { reasons, ..Summary::new(verdict, Exit::Clean.code(), EndedBy::Plan) };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(Exit::Clean)?)
}
