//! `rcu-watch handlers`: every handler of this kernel, from its lists. Attaches nothing, and answers without
//! privileges, as far as what it may read goes.

use anyhow::{Result, bail};
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::report::{HandlerTotals, Header, Message};
use rcu_watch_core::verdict::{Exit, FailOn};

use super::host::host_header;
use crate::bpf::peek::Peek;
use crate::cli::args::HandlersArgs;
use crate::clock;
use crate::kernel::census::{self, Census};
use crate::kernel::mount::Tree;
use crate::sink;
use crate::sink::options::Format;

pub(crate) fn run(args: &HandlersArgs) -> Result<Exit> {
    if args.output.format == Format::Ktap {
        bail!("handlers judges no rule, so it has no KTAP; take -f text or -f json");
    }
    let mut stream = sink::stream(&(&args.output).into(), FailOn::Error)?;
    let tree = Tree::live();
    let mut census = census::take(&tree, Peek::load);
    if !args.function.is_empty() {
        let is_meant = |function: &str| args.function.iter().any(|glob| glob.matches(function));
        // A handler on every function is on these too.
        census.handlers.retain(|handler| handler.function.as_deref().is_none_or(is_meant));
    }
    stream.send(clock::now(), None, Message::Header(Box::new(header(&tree, &census))))?;
    let totals = HandlerTotals::of(&census.handlers, census.uprobes);
    for handler in census.handlers {
        stream.send(clock::now(), None, Message::Handler(Box::new(handler)))?;
    }
    stream.send(clock::now(), None, Message::HandlerTotals(totals))?;
    let lacking: Vec<_> = census.unread.iter().filter(|unread| unread.exists).collect();
    let verdict = match (lacking.is_empty(), census.read_any) {
        (true, _) => RunVerdict::Clean,
        (false, true) => RunVerdict::Inconclusive,
        (false, false) => RunVerdict::Unsupported,
    };
    let exit = Exit::of_run(verdict, false);
    let reasons =
        lacking.iter().map(|unread| format!("{} not read: {}", unread.list.name(), unread.reason)).collect();
    let summary = Summary { reasons, ..Summary::new(verdict, exit.code(), EndedBy::Listed) };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(exit)?)
}

fn header(tree: &Tree, census: &Census) -> Header {
    Header {
        blind_spots: census
            .unread
            .iter()
            .map(|unread| BlindSpot {
                what: unread.list.name().to_owned(),
                reason: unread.reason.why.clone(),
                remedy: unread.reason.remedy.clone(),
            })
            .collect(),
        ..host_header(tree, "handlers")
    }
}
