//! `rcu-watch`, `rcu-watch watch`: attach the plan, stream findings, end with a summary.

use anyhow::{Context as _, Result};

use crate::cli::args::{Format, WatchArgs};
use crate::cli::exit::Exit;
use crate::kernel::{self, Request, select};
use crate::session::child::RunningCommand;
use crate::session::refusal::refuse;
use crate::session::run;
use crate::session::start::{header_of, start};
use crate::session::summary::Terms;
use crate::sink;
use crate::sink::Stream;

pub fn run(args: &WatchArgs) -> Result<Exit> {
    let mut stream = sink::stream(&args.output, &args.verdict)?;
    sink::attach(&mut stream, &args.extra)?;
    run_into(args, stream)
}

/// The run, for whatever listens to `stream`.
pub(super) fn run_into(args: &WatchArgs, mut stream: Stream) -> Result<Exit> {
    let facts = kernel::probe();
    let request = Request::from(&args.scope);
    let plan = select(&facts, &request);
    if !plan.refusals.is_empty() {
        let reasons = plan.refusals.iter().map(ToString::to_string).collect();
        let header = header_of(&facts, &plan, "watch");
        return Err(refuse(&mut stream, args.output.format, header, "watch", reasons));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let terms = Terms { fail_on: args.verdict.fail_on, require: args.scope.require.clone() };
    let mut session = start(&facts, &request, &plan, stream, args)?;
    drop(facts);
    runtime.block_on(async {
        let stream_on_stdout = args.output.format != Format::Text && args.output.output.is_none();
        let mut command = RunningCommand::start(&args.child, stream_on_stdout)?;
        let ended_by = run::run(&mut session, args.duration, args.limit, &mut command).await?;
        let child = match command {
            Some(command) => Some(command.finish().await?),
            None => None,
        };
        session.finish(ended_by, &terms, child)
    })
}
