//! `rcu-watch handlers`: every handler of this kernel, from its lists, and what changed since an earlier list. Attaches
//! nothing, and answers without privileges, as far as what it may read goes.

use anyhow::{Result, anyhow, bail};
use rcu_watch_core::condition::handler_change;
use rcu_watch_core::report::handler_change::{Census as Compared, ListedOn, Uncompared};
use rcu_watch_core::report::handler_list::ListedHandlers;
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::report::summary::{EndedBy, RunVerdict, Summary};
use rcu_watch_core::report::{
    HandlerChange, HandlerChangeTotals, HandlerReport, HandlerTotals, Header, Message,
};
use rcu_watch_core::verdict::{Exit, FailOn};

use super::earlier;
use super::host::host_header;
use crate::bpf::peek::Peek;
use crate::cli::args::HandlersArgs;
use crate::clock;
use crate::kernel::Glob;
use crate::kernel::census::{self, Census, Unread};
use crate::kernel::mount::Tree;
use crate::sink;
use crate::sink::options::Format;

pub(crate) fn run(args: &HandlersArgs) -> Result<Exit> {
    if args.output.format == Format::Ktap {
        bail!("handlers judges no rule, so it has no KTAP; take -f text or -f json");
    }
    // Before the census, and before the output is opened, which may be the same file.
    let old =
        args.diff.as_deref().map(|path| earlier::read(path, args.output.output.as_deref())).transpose()?;
    let mut stream = sink::stream(&(&args.output).into(), FailOn::Error)?;
    let tree = Tree::live();
    let mut census = census::take(&tree, Peek::load);
    keep(&mut census.handlers, &args.function);
    let header = header(&tree, &census);
    let comparison = old.map(|old| compared(old, &header, &census, &args.function)).transpose()?;
    stream.send(clock::now(), None, Message::Header(Box::new(header)))?;
    let mut changes = 0;
    let mut reasons: Vec<String> = Vec::new();
    if let Some((told, totals)) = comparison {
        for change in told {
            stream.send(clock::now(), None, Message::HandlerChange(Box::new(change)))?;
        }
        changes = totals.changes();
        reasons.extend(totals.uncompared.iter().map(not_compared));
        stream.send(clock::now(), None, Message::HandlerChangeTotals(Box::new(totals)))?;
    }
    let functions = args.function.iter().map(|glob| glob.pattern().to_owned()).collect();
    let totals = HandlerTotals { functions, ..HandlerTotals::of(&census.handlers, census.uprobes) };
    for handler in census.handlers {
        stream.send(clock::now(), None, Message::Handler(Box::new(handler)))?;
    }
    stream.send(clock::now(), None, Message::HandlerTotals(totals))?;
    let lacking: Vec<_> = census.unread.iter().filter(|unread| unread.exists).collect();
    let not_read = |unread: &&Unread| format!("{} not read: {}", unread.list.name(), unread.reason);
    reasons.splice(0..0, lacking.iter().map(not_read));
    let verdict = if !lacking.is_empty() && !census.read_any {
        RunVerdict::Unsupported
    } else if args.exit_on_change && changes > 0 {
        RunVerdict::Findings
    } else if reasons.is_empty() {
        RunVerdict::Clean
    } else {
        RunVerdict::Inconclusive
    };
    let exit = Exit::of_run(verdict, false);
    let summary = Summary { reasons, ..Summary::new(verdict, exit.code(), EndedBy::Listed) };
    stream.send(clock::now(), None, Message::Summary(Box::new(summary)))?;
    Ok(stream.finish(exit)?)
}

/// Leaves those on functions that `globs` mean; a handler on every function is on these too.
fn keep(handlers: &mut Vec<HandlerReport>, globs: &[Glob]) {
    let is_meant = |function: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(function));
    handlers.retain(|handler| handler.function.as_deref().is_none_or(is_meant));
}

/// What changed since `old`, of the functions that both lists are about.
fn compared(
    mut old: ListedHandlers,
    header: &Header,
    census: &Census,
    globs: &[Glob],
) -> Result<(Vec<HandlerChange>, HandlerChangeTotals)> {
    let parsed = old.functions.iter().map(|pattern| pattern.parse());
    let of_old: Vec<Glob> = parsed.collect::<Result<_, String>>().map_err(|error| {
        anyhow!("the earlier list's --function is no pattern: {error}; list the handlers anew")
    })?;
    keep(&mut old.handlers, globs);
    let mut now = ListedHandlers {
        on: ListedOn {
            host: header.host.clone(),
            boot_id: header.boot_id.clone(),
            release: header.kernel.release.clone(),
        },
        handlers: census.handlers.clone(),
        unread: census.unread.iter().map(|unread| unread.list).collect(),
        functions: Vec::new(),
    };
    keep(&mut now.handlers, &of_old);
    Ok(handler_change::compare(&old, &now))
}

fn not_compared(list: &Uncompared) -> String {
    let when = match list.unread {
        Compared::Old => "the earlier list does not have them",
        Compared::Now => "the earlier list has them",
    };
    format!("{} not compared: {when}", list.list)
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
