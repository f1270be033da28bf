//! From lines to splats: what begins one, what belongs to it, what ends it.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::backtrace::{base, frames, symbol};
use crate::dmesg::line::Line;
use crate::dmesg::rule::{culprit, rule};
use crate::dmesg::splat::{Illegal, Kind, Splat, Task, handlers};
use crate::dmesg::stall::Stalled;
use crate::units::{CpuId, Nanos};

/// The most frames that a splat keeps: no kernel stack is deeper, so what follows belongs to another splat.
const MAX_FRAMES: usize = 128;
/// Longer than any line that the kernel prints (LOG_LINE_MAX is about 1,000).
const MAX_LINE: usize = 4096;

/// Takes lines, gives splats. Feed it with [`Parser::line`], end with [`Parser::finish`].
#[derive(Debug, Default)]
pub struct Parser {
    lines: usize,
    open: Option<Draft>,
    /// The last stall was reported by the CPU that stalls.
    stalls_itself: bool,
}

/// A splat whose end has not come yet.
#[derive(Debug)]
struct Draft {
    kind: Kind,
    line: usize,
    ts: Option<Nanos>,
    cpu: Option<CpuId>,
    task: Option<Task>,
    kernel: Option<String>,
    stack: Vec<String>,
    /// The next line goes on with this one: a mail wrapped it.
    wrapped: bool,
    traced: bool,
}

impl Parser {
    /// The splats that this line ends.
    pub fn line(&mut self, raw: &str) -> Vec<Splat> {
        self.lines += 1;
        let end = raw.char_indices().nth(MAX_LINE).map_or(raw.len(), |(at, _)| at);
        let Line { ts, text } = Line::new(&raw[..end]);
        if let Some(stall) = self.stall(ts, text) {
            return self.end().into_iter().chain([stall]).collect();
        }
        let Some(kind) = begin(text) else {
            let over = self.open.as_mut().is_some_and(|draft| draft.goes_on(text).is_over());
            return if over { self.end().into_iter().collect() } else { Vec::new() };
        };
        // The WARN that carries "RCU not on for:" or a leaked interrupt state is part of it.
        if let (Kind::Warn { .. }, Some(draft)) = (&kind, &mut self.open)
            && matches!(draft.kind, Kind::NotOn(_) | Kind::LeakedIrq(_))
            && !draft.traced
        {
            draft.who(text);
            return Vec::new();
        }
        let ended = self.end();
        let mut draft = Draft::new(kind, self.lines, ts);
        draft.who(text);
        self.open = Some(draft);
        ended.into_iter().collect()
    }

    /// The splat that the end of the log, or a pause in it, ends. Lines may follow.
    pub fn finish(&mut self) -> Option<Splat> {
        self.end()
    }

    /// Lines seen.
    #[must_use]
    pub const fn lines(&self) -> usize {
        self.lines
    }

    fn end(&mut self) -> Option<Splat> {
        self.open.take().and_then(Draft::into_splat)
    }

    fn stall(&mut self, ts: Option<Nanos>, text: &str) -> Option<Splat> {
        if text.contains("self-detected stall on CPU") {
            self.stalls_itself = true;
        } else if text.contains("detected stalls on CPUs") {
            self.stalls_itself = false;
        }
        let stalled = Stalled::new(text)?;
        let (rule, why) = stalled.judge(self.stalls_itself)?;
        Some(Splat {
            rule,
            severity: crate::finding::Severity::Error,
            said: format!("{why}: stalled with idle={}", stalled.words),
            kernel: None,
            function: "rcu_stall".to_owned(),
            handlers: Vec::new(),
            ts,
            cpu: Some(stalled.cpu),
            task: None,
            stack: Vec::new(),
            line: self.lines,
        })
    }
}

/// What a line begins, if it begins a splat.
fn begin(text: &str) -> Option<Kind> {
    if let Some(function) = text.strip_prefix("RCU not on for: ") {
        return Some(Kind::NotOn(base(function).to_owned()));
    }
    if text.contains("suspicious RCU usage") {
        return Some(Kind::Lockdep { message: String::new(), illegal: None });
    }
    if let Some(function) = text.strip_suffix(" leaked IRQ state") {
        let function = function.rsplit(' ').next()?;
        return Some(Kind::LeakedIrq(base(function).to_owned()));
    }
    let rest = text.strip_prefix("WARNING: ")?;
    // Up to 6.17 "CPU: 1 PID: 0 at FILE:LINE FUNCTION", then "FILE:LINE at FUNCTION, CPU#1: COMM/PID".
    let (file, function) = match rest.split_once(" at ") {
        Some((before, after)) if before.starts_with("CPU: ") => after.split_once(' ').unwrap_or((after, "")),
        Some((file, after)) => (file.rsplit(' ').next()?, after.split(',').next()?),
        None => return None,
    };
    let (file, line) = file.rsplit_once(':')?;
    if line.is_empty() || !line.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let function = function.split_whitespace().next().and_then(symbol).unwrap_or("");
    Some(Kind::Warn { file: file.to_owned(), function: function.to_owned() })
}

/// Whether a splat can have more lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Over,
}

impl Progress {
    fn is_over(self) -> bool {
        self == Self::Over
    }
}

impl Draft {
    fn new(kind: Kind, line: usize, ts: Option<Nanos>) -> Self {
        let wrapped = matches!(&kind, Kind::Warn { function, .. } if function.is_empty());
        let (cpu, task, kernel, stack) = (None, None, None, Vec::new());
        Self { kind, line, ts, cpu, task, kernel, stack, wrapped, traced: false }
    }

    fn goes_on(&mut self, text: &str) -> Progress {
        if text.starts_with("---[ end trace") {
            return Progress::Over;
        }
        // Lockdep has no end mark; an empty line after its stack is where it stops.
        if text.is_empty() {
            return if self.stack.is_empty() { Progress::Open } else { Progress::Over };
        }
        self.who(text);
        let wrapped = core::mem::take(&mut self.wrapped);
        match &mut self.kind {
            Kind::Warn { function, .. } if wrapped => {
                if let Some(found) = text.split_whitespace().next().and_then(symbol) {
                    found.clone_into(function);
                    return Progress::Open;
                }
            }
            Kind::Lockdep { message, illegal } => {
                if text.starts_with("RCU used illegally from offline CPU") {
                    *illegal = Some(Illegal::Offline);
                } else if text.starts_with("RCU used illegally from") {
                    illegal.get_or_insert(Illegal::Eqs);
                } else if wrapped {
                    message.push(' ');
                    message.push_str(text);
                } else if message.is_empty() && is_place(text) {
                    text.clone_into(message);
                    self.wrapped = !text.ends_with('!');
                } else if message.is_empty() && self.kernel.is_none() && text.contains("ainted") {
                    self.kernel = text.split_whitespace().next().map(str::to_owned);
                }
            }
            _ => {}
        }
        self.traced |= text.eq_ignore_ascii_case("call trace:");
        for frame in frames(text) {
            // arm names each function twice, as the caller of one line and the callee of the next.
            let again = self.stack.last().is_some_and(|last| base(last) == frame);
            if !again && self.stack.len() < MAX_FRAMES {
                self.stack.push(frame.to_owned());
            }
        }
        Progress::Open
    }

    /// `CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.0 #1`, or as much of it as the line has.
    fn who(&mut self, text: &str) {
        let after = |key: &str| text.split_once(key).and_then(|(_, rest)| rest.split_whitespace().next());
        let number = |word: &str| word.trim_end_matches([',', ':']).parse::<u32>().ok();
        if self.cpu.is_none() {
            self.cpu = after("CPU: ").or_else(|| after("CPU#")).and_then(number).map(CpuId);
        }
        if let Some(comm) = after("Comm: ") {
            self.task =
                Some(Task { pid: after("PID: ").and_then(number).unwrap_or(0), comm: comm.to_owned() });
            let words =
                || text.split_whitespace().skip_while(|word| !word.starts_with("Not") && *word != "Tainted:");
            let release =
                |word: &&str| word.as_bytes().first().is_some_and(u8::is_ascii_digit) && word.contains('.');
            self.kernel = self.kernel.take().or_else(|| words().find(release).map(str::to_owned));
        } else if self.task.is_none()
            && let Some(pid) = after(" PID: ").and_then(number)
        {
            self.task = Some(Task { pid, comm: String::new() });
        }
    }

    fn into_splat(self) -> Option<Splat> {
        let handlers = handlers(&self.stack);
        let in_idle = self.task.as_ref().is_none_or(|task| task.pid == 0);
        let (rule, severity) = rule(&self.kind, &handlers, in_idle)?;
        let (function, said) = match self.kind {
            Kind::NotOn(function) => (function, "RCU not on: ftrace skipped the handler".to_owned()),
            Kind::LeakedIrq(function) => (function, "left interrupts enabled in idle".to_owned()),
            Kind::Warn { file, function } => (base(&function).to_owned(), format!("WARN in {file}")),
            Kind::Lockdep { message, .. } => {
                let place = message.split_whitespace().next().unwrap_or("unknown");
                (culprit(&self.stack).unwrap_or(place).to_owned(), message)
            }
        };
        Some(Splat {
            rule,
            severity,
            said,
            kernel: self.kernel,
            function,
            handlers,
            ts: self.ts,
            cpu: self.cpu,
            task: self.task,
            stack: self.stack,
            line: self.line,
        })
    }
}

/// `kernel/rcu/tree.c:715 RCU ... underflow/zero!!`
fn is_place(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or("");
    first.rsplit_once(':').is_some_and(|(file, line)| {
        (file.ends_with(".c") || file.ends_with(".h")) && line.bytes().all(|digit| digit.is_ascii_digit())
    })
}
