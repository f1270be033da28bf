//! One complaint of the kernel, as far as its lines tell.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::backtrace::base;
use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, HandlerKind, Reliance};
use crate::units::{CpuId, Nanos};

/// A complaint of this class, and the rule that it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splat {
    /// The rule that would have fired, had a probe been there.
    pub rule: RuleId,
    /// How bad it is, by the kernel's words and the handlers on the stack.
    pub severity: Severity,
    /// What the kernel said.
    pub said: String,
    /// The kernel that said it; absent where the log does not say.
    pub kernel: Option<String>,
    /// The function that ran where it should not.
    pub function: String,
    /// Whose handlers are on the stack.
    pub handlers: Vec<Handler>,
    /// Absent where the log has no times.
    pub ts: Option<Nanos>,
    /// The CPU that complained; absent where the log does not say.
    pub cpu: Option<CpuId>,
    /// The task that was running; absent where the log does not say.
    pub task: Option<Task>,
    /// Innermost first.
    pub stack: Vec<String>,
    /// Number of the first line in the log, from 1.
    pub line: usize,
}

impl Splat {
    /// What the kernel said, and where in the log.
    #[must_use]
    pub fn because(&self) -> String {
        let kernel = self.kernel.as_ref().map_or_else(String::new, |kernel| format!(", kernel {kernel}"));
        format!("{} (line {}{kernel})", self.said, self.line)
    }

    /// What it comes to where the log is all that is known: a handler that is skipped or unprotected and is one of
    /// rcu-watch's own programs hurts nobody else.
    #[must_use]
    pub fn alone(self) -> Self {
        let is_ours = !self.handlers.is_empty() && self.handlers.iter().all(|handler| handler.ours);
        match self.rule {
            RuleId::HandlerDropped | RuleId::HandlerUnwatched if is_ours => {
                Self { rule: RuleId::ExposedFunction, severity: Severity::Warning, ..self }
            }
            _ => self,
        }
    }
}

/// The task that a splat names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Its thread id, 0 for an idle task and where the log names none.
    pub pid: u32,
    /// Its name, as `PID: 0 Comm: swapper/0` has it; empty where the log names none.
    pub comm: String,
}

/// What kind of complaint a splat is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// "RCU not on for: FUNCTION"
    NotOn(String),
    /// "suspicious RCU usage": its message, and where RCU was used illegally.
    Lockdep { message: String, illegal: Option<Illegal> },
    /// A WARN in this file and function.
    Warn { file: String, function: String },
    /// "FUNCTION leaked IRQ state"
    LeakedIrq(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illegal {
    Eqs,
    Offline,
}

/// Names of handlers as they appear on a stack.
const HANDLERS: &[(&str, HandlerKind, Reliance)] = &[
    ("klp_ftrace_handler", HandlerKind::Livepatch, Reliance::Relies),
    ("function_trace_call", HandlerKind::FtraceOps, Reliance::DoesNotRely),
    ("function_graph_enter", HandlerKind::FtraceOps, Reliance::DoesNotRely),
    ("prepare_ftrace_return", HandlerKind::FtraceOps, Reliance::DoesNotRely),
    ("stack_trace_call", HandlerKind::FtraceOps, Reliance::GuardsItself),
    ("perf_ftrace_function_call", HandlerKind::FtraceOps, Reliance::Relies),
    ("fprobe_handler", HandlerKind::FtraceOps, Reliance::Relies),
    ("fprobe_entry", HandlerKind::FtraceOps, Reliance::Relies),
    ("kprobe_ftrace_handler", HandlerKind::Kprobe, Reliance::Relies),
    ("kprobe_dispatcher", HandlerKind::Kprobe, Reliance::Relies),
    ("kprobe_breakpoint_handler", HandlerKind::Kprobe, Reliance::Relies),
    ("call_break_hook", HandlerKind::Kprobe, Reliance::Relies),
];

/// Whose handlers a stack shows, each once.
pub(super) fn handlers(stack: &[String]) -> Vec<Handler> {
    let mut found: Vec<Handler> = Vec::new();
    for frame in stack {
        let name = base(frame);
        let known =
            HANDLERS.iter().find(|(known, ..)| *known == name).map(|&(_, kind, reliance)| (kind, reliance));
        let bpf = name.starts_with("bpf_prog_").then_some((HandlerKind::Bpf, Reliance::Relies));
        if let Some((kind, reliance)) = known.or(bpf)
            && found.iter().all(|handler| handler.name != name)
        {
            // `bpf_prog_<tag>_<name>` (kernel/bpf/core.c:bpf_get_prog_name).
            let ours = bpf.is_some() && name.contains("_rcuw_");
            found.push(Handler {
                kind,
                name: name.to_owned(),
                event: None,
                program: None,
                reliance,
                ours,
                owner: None,
            });
        }
    }
    found
}
