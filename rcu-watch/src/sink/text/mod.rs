//! The screen: findings on standard output, everything about the run on standard error.
//!
//! So `rcu-watch | grep` sees findings only, one line each, and a person still sees what is watched. On a
//! terminal the status line stays in place: it is wiped before anything else is printed and redrawn by the
//! next status. Elsewhere (a CI log) it is a plain line every minute.

mod audit;
mod block;
mod check;
mod finding;
mod grace_period;
mod handler_change;
mod handlers;
mod patches;
mod phrase;
mod plan;
mod status;
mod style;
mod summary;

use std::io::{self, Write};

use rcu_watch_core::report::check::CheckGroup;
use rcu_watch_core::report::{Envelope, HandlerChange, HandlerReport, Heartbeat, Message, SnapshotReport};
use rcu_watch_core::rules::Hit;

use crate::sink::Sink;

use style::Style;

/// How the screen is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub color: bool,
    /// Columns of the terminal that the status line is redrawn on; absent where there is none.
    pub screen: Option<usize>,
    pub verbose: bool,
    /// Findings go to a file: it gets the block and the summary as well.
    pub report_file: bool,
}

/// What kind of stream this is, by its header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    /// A printed plan: nothing ran, so there is no verdict.
    Plan,
    /// A kernel log: no probes, so there are no books.
    Log,
    /// A table of functions, which says more than the findings that it rests on.
    Table,
    /// What this kernel allows: nothing ran either.
    Doctor,
    /// Livepatches as they are now.
    Patches,
}

pub struct Text<Out, Err> {
    out: Out,
    err: Err,
    look: Look,
    style: Style,
    kind: Kind,
    status_shown: bool,
    /// When the next plain status line is due, in seconds of the run.
    next_status_s: u64,
    /// The lines below a table of functions, printed after everything else.
    last_lines: Vec<String>,
    /// The group of the last line that `doctor` printed.
    group: Option<CheckGroup>,
    /// Handlers of a census, which are printed when all are known.
    census: Vec<HandlerReport>,
    /// Changes since an earlier census, which are printed instead of it.
    changes: Vec<HandlerChange>,
    /// They were printed.
    is_compared: bool,
    /// Livepatches that were printed.
    patches: u64,
    /// Lines of snapshots that were not written out yet.
    kept: Vec<u8>,
}

/// Bytes kept back at most.
const KEPT: usize = 64 << 10;

impl<Out: Write, Err: Write> Text<Out, Err> {
    pub fn new(out: Out, err: Err, look: Look) -> Self {
        let style = Style { color: look.color };
        Self {
            out,
            err,
            look,
            style,
            kind: Kind::Run,
            status_shown: false,
            next_status_s: status::EVERY_S,
            last_lines: Vec::new(),
            group: None,
            census: Vec::new(),
            changes: Vec::new(),
            is_compared: false,
            patches: 0,
            kept: Vec::new(),
        }
    }

    /// Lines about the run.
    fn about(&mut self, lines: &[String]) -> io::Result<()> {
        self.wipe_status()?;
        for line in lines {
            writeln!(self.err, "{line}")?;
            if self.look.report_file {
                writeln!(self.out, "{line}")?;
            }
        }
        self.err.flush()?;
        self.out.flush()
    }

    /// Prints what the run is for: lines on standard output.
    fn say(&mut self, lines: &[String]) -> io::Result<()> {
        self.wipe_status()?;
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    fn wipe_status(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.status_shown) {
            write!(self.err, "\r\x1b[K")?;
            self.err.flush()?;
        }
        Ok(())
    }
}

impl<Out: Write, Err: Write> Sink for Text<Out, Err> {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.flush()?;
        let Look { verbose, .. } = self.look;
        let style = self.style;
        let at = (envelope.ts_ns, envelope.cpu);
        match &envelope.message {
            Message::Header(header) if header.command == "doctor" => {
                self.kind = Kind::Doctor;
                self.say(&[block::title(header)])
            }
            Message::Check(found) => {
                let is_first = self.group != Some(found.group);
                self.group = Some(found.group);
                self.say(&check::lines(found, is_first, style))
            }
            Message::Summary(summary) if self.kind == Kind::Doctor => {
                self.say(&check::verdict(summary, style))
            }
            Message::Header(header) if header.command == "patches" => {
                self.kind = Kind::Patches;
                self.say(&[patches::title(header)])
            }
            Message::Patch(patch) => {
                self.patches += 1;
                self.say(&patches::lines(patch, verbose, style))
            }
            Message::Summary(summary) if self.kind == Kind::Patches => {
                self.say(&patches::end(summary, self.patches, style))
            }
            Message::Header(header) if header.command == "probes" => {
                self.kind = Kind::Plan;
                self.about(&block::lines(header, verbose))?;
                self.say(&plan::lines(&header.plan, style))
            }
            Message::Header(header) if header.command == "handlers" => {
                self.kind = Kind::Table;
                self.about(&handlers::head(header, verbose))
            }
            Message::Header(header) if header.command == "dmesg" => {
                self.kind = Kind::Log;
                Ok(())
            }
            Message::Header(header) if matches!(header.command.as_str(), "audit" | "check") => {
                self.kind = Kind::Table;
                self.about(&block::lines(header, verbose))
            }
            Message::Header(header) => self.about(&block::lines(header, verbose)),
            Message::Finding(_) if self.kind == Kind::Table && !verbose => Ok(()),
            Message::Finding(finding) => self.say(&finding::lines(at, finding, verbose, style)),
            Message::Repeat(repeat) => self.say(&[finding::repeat(at, repeat)]),
            Message::Snapshot(snapshot) => {
                finding::snapshot(&mut self.kept, at, snapshot)?;
                self.flush()
            }
            Message::Transition(transition) => self.say(&[finding::transition(at, transition)]),
            Message::Livepatch(change) => self.about(&[plan::livepatch(at, change)]),
            Message::PlanChange(change) => self.about(&[plan::changed(at, change)]),
            Message::GracePeriod(period) => self.about(&grace_period::lines(at, period, style)),
            Message::Lost(lost) => self.about(&[status::lost(at, lost)]),
            Message::Missed(missed) => self.about(&[status::missed(at, missed)]),
            Message::ProbeError(error) => self.about(&[status::probe_error(at, error)]),
            Message::OutputDropped(dropped) => self.say(&[status::output_dropped(at, dropped)]),
            // The status line has said it already.
            Message::Heartbeat(_) => Ok(()),
            Message::Audited(audited) => {
                let row = audit::row(audited, verbose, style);
                self.say(row.as_slice())
            }
            Message::AuditTotals(totals) => {
                self.last_lines = audit::end(totals, style);
                Ok(())
            }
            Message::Checked(checked) => self.say(&audit::checked(checked, style)),
            Message::HandlerChange(change) => {
                self.changes.push((**change).clone());
                Ok(())
            }
            Message::HandlerChangeTotals(totals) => {
                self.is_compared = true;
                let changes = std::mem::take(&mut self.changes);
                self.say(&handler_change::table(&changes, totals, verbose, style))?;
                self.about(&handler_change::totals(totals))
            }
            Message::Handler(_) | Message::HandlerTotals(_) if self.is_compared => Ok(()),
            Message::Handler(handler) => {
                self.census.push((**handler).clone());
                Ok(())
            }
            Message::HandlerTotals(totals) => {
                let census = std::mem::take(&mut self.census);
                self.say(&handlers::table(&census, verbose, style))?;
                self.about(&handlers::totals(totals, style))
            }
            Message::Summary(_) if self.kind == Kind::Plan => Ok(()),
            Message::Summary(summary) if self.kind == Kind::Log => {
                self.about(&summary::log(summary, verbose, style))
            }
            Message::Summary(summary) if self.kind == Kind::Table => {
                self.about(&summary::table(summary, verbose, style))?;
                let last_lines = std::mem::take(&mut self.last_lines);
                self.say(&last_lines)
            }
            Message::Summary(summary) => self.about(&summary::lines(summary, verbose, style)),
        }
    }

    fn snapshot(&mut self, _seq: u64, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
        let at = (hit.snapshot.ts, Some(hit.snapshot.cpu));
        finding::snapshot(&mut self.kept, at, &SnapshotReport::new(hit, cpu_seq))?;
        if self.kept.len() >= KEPT { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        self.wipe_status()?;
        let written = self.out.write_all(&self.kept).and_then(|()| self.out.flush());
        self.kept.clear();
        written
    }

    fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        let line = status::line(now);
        if let Some(width) = self.look.screen {
            // One column short: a full line would wrap, and could not be wiped.
            let line: String = line.chars().take(width.saturating_sub(1)).collect();
            write!(self.err, "\r\x1b[K{line}")?;
            self.status_shown = true;
        } else {
            let seconds = phrase::seconds(now.elapsed_ns);
            if seconds < self.next_status_s {
                return Ok(());
            }
            self.next_status_s = seconds - seconds % status::EVERY_S + status::EVERY_S;
            writeln!(self.err, "{line}")?;
        }
        self.err.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.wipe_status()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
