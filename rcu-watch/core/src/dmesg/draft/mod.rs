//! A splat whose end has not come yet: what belongs to it, what it says, and what ends it.

mod told;

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::frame::{bare_frame, base, frames, is_of_trace, program_counter, symbol};
use crate::dmesg::headline::{self, Kind};
use crate::dmesg::line::{Line, Writer};
use crate::dmesg::splat::Task;
use crate::dmesg::who::{self, Who};
use crate::units::{CpuId, Nanos};

/// The most frames that a splat keeps: no kernel stack is deeper, so what follows belongs to another splat.
const MAX_FRAMES: usize = 128;
/// Longer than a splat's lines are apart, whatever others print between them.
const MAX_NOISE: usize = 200;
/// Longer than a console takes between two lines of one splat, and than a stalled CPU takes to answer an NMI.
const GAP: Nanos = Nanos(5_000_000_000);
const STALL_GAP: Nanos = Nanos(15_000_000_000);

#[derive(Debug)]
pub(super) struct Draft {
    pub kind: Kind,
    pub line: usize,
    pub writer: Writer,
    pub cpu: Option<CpuId>,
    /// The line of the splat that was open when this one began.
    pub within: Option<usize>,
    ts: Option<Nanos>,
    last_ts: Option<Nanos>,
    /// Lines in a row that have this time: printed in one go.
    same_ts: u32,
    /// The CPU that the prefix of its first line named.
    prefix_cpu: Option<u32>,
    task: Option<Task>,
    /// The task whose locks are listed: whose splat this is.
    holder: Option<Task>,
    kernel: Option<String>,
    stack: Vec<String>,
    /// The function that warned, as registers and headlines name it.
    inner: Option<String>,
    /// The next line goes on with this one: a mail wrapped it.
    wrapped: bool,
    /// The next line is the end of a lock that is held, and no frame.
    of_lock: bool,
    traced: bool,
    /// An empty line came after the stack: what follows tells whether it was the end.
    paused: bool,
    /// Lines of another CPU come, until one says that they do not.
    foreign: bool,
    has_warned: bool,
    irqs_on: Option<bool>,
    enabled_at: Option<u64>,
    unwatched: bool,
    noise: usize,
}

/// What a line was to a splat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Part of it.
    Taken,
    /// Not of it, or nothing that it needs.
    Passed,
    /// Its last line.
    Last,
    /// It was over before.
    Over,
}

impl Draft {
    pub(super) fn new(kind: Kind, number: usize, line: &Line<'_>) -> Self {
        let mut draft = Self {
            kind: Kind::Cut,
            line: number,
            writer: line.writer,
            cpu: None,
            within: None,
            ts: line.ts,
            last_ts: line.ts,
            same_ts: 1,
            prefix_cpu: line.cpu,
            task: None,
            holder: None,
            kernel: None,
            stack: Vec::new(),
            inner: None,
            wrapped: false,
            of_lock: false,
            traced: false,
            paused: false,
            foreign: false,
            has_warned: false,
            irqs_on: None,
            enabled_at: None,
            unwatched: false,
            noise: 0,
        };
        draft.become_kind(kind, line.text);
        draft
    }

    /// Whether a new headline is part of this splat.
    pub(super) fn takes(&self, kind: &Kind) -> bool {
        match (&self.kind, kind) {
            (
                Kind::Cut,
                Kind::Cut | Kind::Warn(_) | Kind::NotOn(_) | Kind::LeakedIrq(_) | Kind::Unwatched,
            ) => true,
            // The WARN that carries a message is part of it, and so is the message that follows its WARN.
            (Kind::NotOn(_) | Kind::LeakedIrq(_) | Kind::Unwatched, Kind::Warn(_)) => {
                !self.traced && !self.has_warned
            }
            (Kind::Warn(_), Kind::Unwatched) => !self.unwatched && self.stack.is_empty(),
            (Kind::Lockdep { message, illegal }, Kind::Lockdep { message: more, illegal: where_ }) => {
                headline::is_middle(kind)
                    && self.stack.is_empty()
                    && (more.is_empty() || message.is_empty())
                    && (where_.is_none() || illegal.is_none() || *illegal == *where_)
            }
            (Kind::Stall(_), Kind::Stall(more)) => more.flavour.is_empty(),
            _ => false,
        }
    }

    fn become_kind(&mut self, kind: Kind, text: &str) {
        match (&mut self.kind, kind) {
            (Kind::NotOn(_) | Kind::LeakedIrq(_), Kind::Warn(warn)) => self.inner = Some(warn.function),
            (Kind::Unwatched, Kind::Warn(warn)) => {
                self.unwatched = true;
                self.warn(Kind::Warn(warn));
            }
            (Kind::Cut, kind @ Kind::Warn(_)) => self.warn(kind),
            (Kind::Warn(_), Kind::Unwatched) => self.unwatched = true,
            (Kind::Cut, kind) => {
                self.wrapped = matches!(&kind, Kind::Lockdep { message, .. } if !message.is_empty() && !message.ends_with('!'));
                self.kind = kind;
            }
            (Kind::Lockdep { message, illegal }, Kind::Lockdep { message: more, illegal: where_ }) => {
                if message.is_empty() && !more.is_empty() {
                    self.wrapped = !more.ends_with('!');
                    *message = more;
                }
                *illegal = where_.or(*illegal);
            }
            (Kind::Stall(stall), Kind::Stall(more)) => stall.merge(more),
            _ => {}
        }
        self.has_warned |= text.starts_with("WARNING: ");
        if !matches!(self.kind, Kind::Stall(_)) {
            self.learn(&who::of(text));
        }
    }

    fn warn(&mut self, kind: Kind) {
        if let Kind::Warn(warn) = &kind {
            self.wrapped = warn.function.is_empty();
            self.inner = warn.is_whole.then(|| warn.function.clone());
        }
        self.kind = kind;
    }

    /// Whether all that it needs may have come: a new headline ends it, and does not interrupt it.
    pub(super) const fn is_finished(&self) -> bool {
        !self.stack.is_empty() || matches!(self.kind, Kind::Stall(_))
    }

    pub(super) const fn is_traced(&self) -> bool {
        !self.stack.is_empty()
    }

    /// Whether a line that comes at this time is too late to be of it.
    pub(super) fn is_late(&self, ts: Option<Nanos>) -> bool {
        let gap = if matches!(self.kind, Kind::Stall(_)) { STALL_GAP } else { GAP };
        let late = |now: Nanos, last: Nanos| now.0.saturating_sub(last.0) > gap.0;
        self.noise > MAX_NOISE || ts.zip(self.last_ts).is_some_and(|(now, last)| late(now, last))
    }

    /// Where times went back, so that two writers' lines stand between each other: whether this is the other's time. Lines
    /// that were printed in one go have one time.
    pub(super) fn is_others(&self, ts: Option<Nanos>) -> bool {
        self.same_ts >= 4 && ts.zip(self.last_ts).is_some_and(|(now, last)| now > last)
    }

    /// Takes a line that is part of it by its headline, or any other.
    pub(super) fn line(&mut self, line: &Line<'_>, kind: Option<Kind>) -> Progress {
        let progress = match kind {
            Some(kind) => {
                self.become_kind(kind, line.text);
                Progress::Taken
            }
            None => self.goes_on(line.text),
        };
        match progress {
            Progress::Taken => {
                self.noise = 0;
                if line.ts.is_some() {
                    self.same_ts = if line.ts == self.last_ts { self.same_ts + 1 } else { 1 };
                    self.last_ts = line.ts;
                }
            }
            Progress::Passed => self.noise += 1,
            Progress::Last | Progress::Over => {}
        }
        progress
    }

    fn goes_on(&mut self, text: &str) -> Progress {
        if text.starts_with("---[ end trace") {
            return Progress::Last;
        }
        // Lockdep has no end mark; an empty line after its stack is where it stops, unless the log doubles them.
        if text.is_empty() {
            self.paused |= !self.stack.is_empty();
            return Progress::Passed;
        }
        let found = frames(text);
        let is_trace = !found.is_empty() || is_of_trace(text) || program_counter(text).is_some();
        if !is_trace && !self.stack.is_empty() && (self.paused || ends(text, self.traced)) {
            return Progress::Over;
        }
        self.paused = false;
        let who = who::of(text);
        if self.is_foreign(&who, text) {
            return Progress::Passed;
        }
        if core::mem::take(&mut self.of_lock) && !found.is_empty() {
            return Progress::Taken;
        }
        if text.starts_with('#') && text[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.of_lock = text.ends_with("at:") || !text.contains(" at");
            return Progress::Taken;
        }
        self.learn(&who);
        if who != Who::default()
            || text.starts_with("stack backtrace:")
            || text.starts_with("rcu_scheduler_active")
        {
            return Progress::Taken;
        }
        if self.says(text) || self.stamps(text) {
            return Progress::Taken;
        }
        if text.starts_with("Call ") && text.get(5..10).is_some_and(|word| word.eq_ignore_ascii_case("trace"))
        {
            self.traced = true;
            return Progress::Taken;
        }
        self.trace(text, &found)
    }

    /// Whether the line is of another CPU, whose lines stand between those of this splat.
    fn is_foreign(&mut self, who: &Who, text: &str) -> bool {
        if let Kind::Stall(stall) = &self.kind {
            // Of the CPUs that are asked for their stacks the first that stalls is told.
            if let Some(cpu) = who.cpu.filter(|_| who.is_dump) {
                self.foreign =
                    !stall.entries.is_empty() && stall.entries.iter().all(|entry| entry.cpu != cpu);
            }
            // The stack of the thread that waits for the holders is not a holder's.
            self.foreign |= text.ends_with("kthread stack dump:");
            return self.foreign && !text.starts_with("rcu:");
        }
        if who.is_dump {
            let other_cpu = who.cpu.zip(self.cpu).is_some_and(|(this, own)| this != own);
            let other_task = who
                .task
                .as_ref()
                .zip(self.holder.as_ref())
                .is_some_and(|(this, own)| this.pid != own.pid || this.comm != own.comm);
            self.foreign = other_cpu || other_task;
        } else if text.starts_with("stack backtrace:") {
            self.foreign = false;
        }
        self.foreign
    }

    fn learn(&mut self, who: &Who) {
        if matches!(self.kind, Kind::Cut) {
            return;
        }
        self.cpu = self.cpu.or(who.cpu);
        if let Some(task) = &who.task {
            if who.holds {
                self.holder = Some(task.clone());
            }
            if self.task.as_ref().is_none_or(|known| known.comm.is_empty()) || who.is_dump {
                self.task = Some(task.clone());
            }
        }
        if self.kernel.is_none() {
            self.kernel.clone_from(&who.kernel);
        }
    }

    /// What the line says of what is wrong.
    fn says(&mut self, text: &str) -> bool {
        let wrapped = core::mem::take(&mut self.wrapped);
        match &mut self.kind {
            Kind::Stall(stall) => stall.line(text),
            Kind::Warn(warn) if wrapped => {
                let Some(found) = text.split_whitespace().next().and_then(symbol) else { return false };
                base(found).clone_into(&mut warn.function);
                warn.is_whole = true;
                self.inner = Some(warn.function.clone());
                true
            }
            Kind::Lockdep { message, .. } if wrapped => {
                if !text.starts_with("other info") && !text.starts_with("rcu_scheduler") {
                    message.push(' ');
                    message.push_str(text);
                }
                true
            }
            Kind::Lockdep { message, .. } if message.is_empty() && headline::is_message(text) => {
                text.clone_into(message);
                self.wrapped = !text.ends_with('!');
                true
            }
            Kind::Lockdep { message, .. }
                if message.is_empty() && self.kernel.is_none() && text.contains("ainted") =>
            {
                self.kernel = text.split_whitespace().next().map(str::to_owned);
                true
            }
            _ => false,
        }
    }

    /// Lockdep's word on interrupts.
    fn stamps(&mut self, text: &str) -> bool {
        if text.starts_with("IRQs not disabled as expected") {
            self.irqs_on = Some(true);
            return true;
        }
        let Some(rest) = text.strip_prefix("hardirqs last") else { return false };
        let at = rest
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .and_then(|(at, _)| at.parse().ok());
        if rest.trim_start().starts_with("enabled") {
            self.enabled_at = at;
        } else if let Some((enabled, disabled)) = self.enabled_at.zip(at) {
            self.irqs_on = self.irqs_on.or(Some(enabled > disabled));
        }
        true
    }

    fn trace(&mut self, text: &str, found: &[&str]) -> Progress {
        if let Some(at) = program_counter(text) {
            if self.traced {
                self.push(at);
            } else if self.inner.as_ref().is_none_or(|inner| base(at).starts_with(base(inner))) {
                self.inner = Some(at.to_owned());
            }
            return Progress::Taken;
        }
        for frame in found {
            self.push(frame);
        }
        if found.is_empty()
            && self.traced
            && let Some(frame) = bare_frame(text)
        {
            self.push(frame);
            return Progress::Taken;
        }
        if found.is_empty() && !is_of_trace(text) { Progress::Passed } else { Progress::Taken }
    }

    fn push(&mut self, frame: &str) {
        // arm names each function twice, as the caller of one line and the callee of the next; some tools do so too.
        let again = self.stack.last().is_some_and(|last| {
            last == frame || (base(last) == base(frame) && (!frame.contains('+') || !last.contains('+')))
        });
        if !again && self.stack.len() < MAX_FRAMES {
            self.stack.push(frame.to_owned());
        }
    }
}

/// Lines that no splat has after its stack: another one began, or something else did.
fn ends(text: &str, traced: bool) -> bool {
    const BEGINNINGS: &[&str] = &[
        "BUG:",
        "Oops",
        "kernel BUG",
        "INFO:",
        "[ INFO:",
        "WARNING:",
        "Unable to handle",
        "Internal error",
        "------------[ cut",
        "=====",
        "task:",
        "general protection fault",
        "watchdog:",
        "Kernel panic",
        "stack backtrace:",
        "rcu: INFO:",
        "Kernel attempted",
        "invalid opcode",
        "NMI backtrace for",
    ];
    BEGINNINGS.iter().any(|start| text.starts_with(start))
        || text.starts_with("CPU: ")
        || (traced
            && text.starts_with("Call ")
            && text.get(5..10).is_some_and(|word| word.eq_ignore_ascii_case("trace")))
}
