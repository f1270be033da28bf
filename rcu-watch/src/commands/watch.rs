//! `rcu-watch`, `rcu-watch watch`: attach the plan, stream findings, end with a summary.

use anyhow::{Context as _, Result};
use rcu_watch_core::verdict::Exit;

use crate::cli::args::WatchArgs;
use crate::kernel::{self, Request, select};
use crate::outlet;
use crate::session::refusal::refuse;
use crate::session::start::header_of;
use crate::session::{self, RunningCommand, Signals, Terms, WatchOptions, start};
use crate::sink;
use crate::sink::Stream;

pub(crate) fn run(args: &WatchArgs) -> Result<Exit> {
    run_with(&Request::from(&args.scope), &WatchOptions::from(args))
}

/// The run, with the output that `options` ask for.
pub(super) fn run_with(request: &Request, options: &WatchOptions) -> Result<Exit> {
    let stream = sink::stream(&options.output, options.fail_on)?;
    run_into(request, options, stream)
}

/// The run, for whatever listens to `stream`.
pub(super) fn run_into(request: &Request, options: &WatchOptions, mut stream: Stream) -> Result<Exit> {
    let facts = kernel::probe();
    let plan = select(&facts, request);
    if !plan.refusals.is_empty() {
        let reasons = plan.refusals.iter().map(ToString::to_string).collect();
        let header = header_of(&facts, &plan, "watch");
        return Err(refuse(&mut stream, options.output.format, header, "watch", reasons));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let terms = Terms { fail_on: options.fail_on, require: request.require.clone() };
    let mut signals = {
        let _entered = runtime.enter();
        Signals::catch()?
    };
    let _live = outlet::live();
    let mut session = start(&facts, request, &plan, stream, options)?;
    drop(facts);
    runtime.block_on(async {
        let mut command = RunningCommand::start(&options.child, options.output.takes_stdout())?;
        let WatchOptions { duration, limit, .. } = options;
        let ended_by = session::run(&mut session, *duration, *limit, &mut command, &mut signals).await?;
        let child = match command {
            Some(command) => Some(command.finish().await?),
            None => None,
        };
        session::wait_for_ftrace(&mut session, &mut signals).await?;
        session.finish(ended_by, &terms, child)
    })
}
