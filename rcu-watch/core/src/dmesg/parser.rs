//! From lines to splats: whose line it is, what begins a splat, and which of them was brought about by another.

use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::draft::{Draft, Progress};
use crate::dmesg::frame::base;
use crate::dmesg::headline::{self, Kind};
use crate::dmesg::line::{Line, Reader, Writer};
use crate::dmesg::machinery::is_of_printing;
use crate::dmesg::splat::Splat;
use crate::dmesg::who;
use crate::units::Nanos;

/// Longer than any line that the kernel prints (LOG_LINE_MAX is about 1,000), and what a carrier puts around it.
const MAX_LINE: usize = 8192;
/// Splats that are open at once: more writers than that do not warn together.
const MAX_OPEN: usize = 64;
/// What was printed this many lines after a splat, or this long, was not brought about by it.
const MAX_AFTER: usize = 300;
const AFTER: Nanos = Nanos(5_000_000_000);

/// Takes lines, gives splats. Feed it with [`Parser::line`], end with [`Parser::finish`].
#[derive(Debug, Default)]
pub struct Parser {
    lines: usize,
    reader: Reader,
    /// In the order in which they began; of one writer the last is the one that lines go to.
    open: Vec<Draft>,
    /// Splats that are over, but one that began before them is not.
    over: Vec<Over>,
    /// What was told last, as the cause of what may follow.
    causes: Vec<Splat>,
    writer: Writer,
    /// A headline whose rest is in the next line.
    broken: Option<String>,
    last_ts: Option<Nanos>,
    /// Times went back: two writers' lines stand between each other.
    is_torn: bool,
    unread: u64,
}

#[derive(Debug)]
struct Over {
    splat: Splat,
    within: Option<usize>,
}

impl Parser {
    /// The splats that this line ends.
    pub fn line(&mut self, raw: &str) -> Vec<Splat> {
        self.lines += 1;
        // With its end or without: an end is no empty line behind it.
        let raw = raw.strip_suffix('\n').unwrap_or(raw);
        let end = if raw.len() > MAX_LINE { raw.floor_char_boundary(MAX_LINE) } else { raw.len() };
        if let Some(whole) = self.reader.unwrap(&raw[..end]) {
            for part in whole.split('\n') {
                if let Some(line) = self.reader.take_apart(part) {
                    self.take(line);
                }
            }
        }
        if self.over.is_empty() { Vec::new() } else { self.release(false) }
    }

    /// The splats that the end of the log, or a pause in it, ends. Lines may follow.
    pub fn finish(&mut self) -> Vec<Splat> {
        while !self.open.is_empty() {
            self.end(0);
        }
        self.is_torn = false;
        self.release(true)
    }

    /// Lines seen.
    #[must_use]
    pub const fn lines(&self) -> usize {
        self.lines
    }

    /// Lines that carry a message of this class and could not be read.
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.unread
    }

    /// What was put around the lines, from the outside in: `syslog or journal, printk's time`.
    #[must_use]
    pub fn form(&self) -> String {
        self.reader.form()
    }

    fn take(&mut self, mut line: Line<'_>) {
        // What has neither time nor writer goes on with the line before it.
        if line.ts.is_none() && line.writer == Writer::default() {
            line.writer = self.writer;
        }
        self.writer = line.writer;
        if let Some(head) = self.broken.take() {
            let whole = [&head, " ", line.text].concat();
            if headline::begin(&whole).is_some() {
                return self.put(&Line { text: &whole, ..line });
            }
        }
        if headline::is_broken(line.text) {
            self.broken = Some(line.text.into());
        }
        self.put(&line);
    }

    fn put(&mut self, line: &Line<'_>) {
        let went_back = self.watch_times(line);
        if self.open.is_empty() && line.text.len() < 8 {
            return;
        }
        let mut kind = headline::begin(line.text);
        self.turn_to_cpu(line);
        if let Some(kind) = kind.as_ref().filter(|kind| headline::is_message_of(kind)) {
            self.turn_to_message(line.writer, kind);
        }
        let mut is_taken = false;
        while let Some(at) = self.current(line.writer) {
            let draft = &mut self.open[at];
            if kind.as_ref().is_some_and(|kind| !draft.takes(kind)) {
                if draft.is_finished() {
                    self.end(at);
                    continue;
                }
                break;
            }
            if !went_back && self.is_torn && draft.is_others(line.ts) {
                return;
            }
            match draft.line(line, kind.take()) {
                Progress::Taken => {
                    is_taken = true;
                    break;
                }
                Progress::Passed => break,
                Progress::Last => {
                    self.end(at);
                    is_taken = true;
                    break;
                }
                Progress::Over => self.end(at),
            }
        }
        if let Some(kind) = kind {
            self.begin(kind, line);
        } else if !is_taken && headline::speaks(line.text) {
            self.unread += 1;
        }
    }

    fn begin(&mut self, kind: Kind, line: &Line<'_>) {
        let within = self.current(line.writer).map(|at| self.open[at].line);
        if self.open.len() == MAX_OPEN {
            self.end(0);
        }
        let mut draft = Draft::new(kind, self.lines, line);
        draft.within = within;
        self.open.push(draft);
    }

    /// The splat that a writer's lines go to.
    fn current(&self, writer: Writer) -> Option<usize> {
        self.open.iter().rposition(|draft| draft.writer == writer)
    }

    /// Ends what is too late for this line, and sees whether times go back with it.
    fn watch_times(&mut self, line: &Line<'_>) -> bool {
        if self.open.is_empty() {
            self.is_torn = false;
        }
        while let Some(at) = self.open.iter().position(|draft| draft.is_late(line.ts)) {
            self.end(at);
        }
        let Some(ts) = line.ts else { return false };
        let went_back = self.last_ts.is_some_and(|last| ts < last);
        self.is_torn |= went_back && !self.open.is_empty();
        self.last_ts = Some(ts);
        went_back
    }

    /// What only says more of a splat is of the one that waits for it.
    fn turn_to_message(&mut self, writer: Writer, kind: &Kind) {
        let waits = |draft: &Draft| draft.writer == writer && draft.takes(kind);
        if let Some(at) = self.open.iter().rposition(waits) {
            let draft = self.open.remove(at);
            self.open.push(draft);
        }
    }

    /// Where a log names no writers, the dump of a CPU tells whose lines come: those of the splat of this CPU that has no
    /// stack yet.
    fn turn_to_cpu(&mut self, line: &Line<'_>) {
        if !line.text.starts_with("CPU: ") {
            return;
        }
        let Some(cpu) = who::of(line.text).cpu else { return };
        let Some(current) = self.current(line.writer) else { return };
        if self.open[current].is_traced() {
            self.end(current);
        } else if self.open[current].cpu.is_none_or(|own| own == cpu) {
            return;
        }
        let waits = |draft: &Draft| draft.writer == line.writer && !draft.is_traced();
        let of_cpu = self.open.iter().rposition(|draft| waits(draft) && draft.cpu == Some(cpu));
        // Lockdep names its CPU in this line for the first time.
        let of_none = || self.open.iter().rposition(|draft| waits(draft) && draft.cpu.is_none());
        if let Some(at) = of_cpu.or_else(of_none) {
            let draft = self.open.remove(at);
            self.open.push(draft);
        }
    }

    fn end(&mut self, at: usize) {
        let draft = self.open.remove(at);
        let within = draft.within;
        if let Some(splat) = draft.into_splat() {
            self.over.push(Over { splat, within });
        }
    }

    /// Tells what is over in the order in which it began, causes before what they brought about.
    fn release(&mut self, all: bool) -> Vec<Splat> {
        self.over.sort_by_key(|over| over.splat.line);
        let first_open = self.open.iter().map(|draft| draft.line).min().unwrap_or(usize::MAX);
        let count = self.over.iter().take_while(|over| all || over.splat.line < first_open).count();
        let count = if self.over.len() > MAX_OPEN { self.over.len() } else { count };
        let mut told = Vec::with_capacity(count);
        for Over { splat, within } in self.over.drain(..count) {
            let cause = self.causes.iter().rev().find(|cause| brought_about(cause, within, &splat));
            let splat = match cause {
                Some(cause) => splat.brought_about_by(cause.line),
                None => {
                    if self.causes.len() == 8 {
                        self.causes.remove(0);
                    }
                    self.causes.push(splat.clone());
                    splat
                }
            };
            told.push(splat);
        }
        told
    }
}

/// Whether printing one splat brought the other about: its stack shows the printing, and it was printed within it or
/// right after it by the same CPU.
fn brought_about(cause: &Splat, within: Option<usize>, splat: &Splat) -> bool {
    let is_same_cpu = cause.cpu.zip(splat.cpu).is_none_or(|(one, other)| one == other);
    let is_near = splat.line - cause.line.min(splat.line) <= MAX_AFTER
        && splat.ts.zip(cause.ts).is_none_or(|(now, then)| now.0.abs_diff(then.0) <= AFTER.0);
    if !is_same_cpu || !is_near || !is_of_printing(&splat.stack) {
        return false;
    }
    let has = |stack: &[String], function: &str| stack.iter().any(|frame| base(frame) == base(function));
    within == Some(cause.line) || has(&splat.stack, &cause.function) || has(&cause.stack, &splat.function)
}
