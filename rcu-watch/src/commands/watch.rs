//! `rcu-watch`, `rcu-watch watch`: attach the plan, stream findings, end with a summary.

use anyhow::{Context as _, Result};

use crate::cli::args::{Format, WatchArgs};
use crate::cli::exit::{Exit, Unsupported};
use crate::kernel::{Facts, Request, select};
use crate::report::{Message, Stream};
use crate::session::child::RunningCommand;
use crate::session::start::{header_of, start};
use crate::session::summary::{Terms, refusal};
use crate::session::{clock, run};
use crate::sink;

pub fn run(args: &WatchArgs) -> Result<Exit> {
    let mut stream = sink::stream(&args.output, &args.verdict)?;
    sink::attach(&mut stream, &args.extra)?;
    run_into(args, stream)
}

/// The run, for whatever listens to `stream`.
pub(super) fn run_into(args: &WatchArgs, mut stream: Stream) -> Result<Exit> {
    let facts = Facts::probe();
    let request = Request::from(&args.scope);
    let plan = select(&facts, &request);
    if !plan.refusals.is_empty() {
        let reasons: Vec<String> = plan.refusals.iter().map(ToString::to_string).collect();
        if args.output.format != Format::Text {
            stream.send(clock::now(), None, Message::Header(Box::new(header_of(&facts, &plan, "watch"))))?;
            stream.send(clock::now(), None, Message::Summary(Box::new(refusal(reasons.clone()))))?;
            stream.finish()?;
        }
        return Err(Unsupported(format!("cannot watch this kernel:\n  {}", reasons.join("\n  "))).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let terms = Terms { fail_on: args.verdict.fail_on, require: args.scope.require.clone() };
    let mut session = start(&facts, &plan, stream, args)?;
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
