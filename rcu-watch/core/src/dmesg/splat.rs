//! One complaint of the kernel, as far as its lines tell.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::finding::{RuleId, Severity};
use crate::probe::Handler;
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
    /// The line of the splat whose printing brought this one about; it is told before.
    pub consequence_of: Option<usize>,
}

impl Splat {
    /// What the kernel said, and where in the log.
    #[must_use]
    pub fn because(&self) -> String {
        let kernel = self.kernel.as_ref().map_or_else(String::new, |kernel| format!(", kernel {kernel}"));
        let of = self.consequence_of;
        let of =
            of.map_or_else(String::new, |line| format!(", a consequence of printing that of line {line}"));
        format!("{} (line {}{kernel}{of})", self.said, self.line)
    }

    /// As what the printing of another splat brought about: nothing of its own is wrong.
    #[must_use]
    pub(super) fn brought_about_by(self, line: usize) -> Self {
        Self { severity: Severity::Info, consequence_of: Some(line), ..self }
    }

    /// What it comes to where the log is all that is known: a handler that is skipped or unprotected and is one of
    /// rcu-watch's own programs hurts nobody else.
    #[must_use]
    pub fn alone(self) -> Self {
        let is_ours = !self.handlers.is_empty() && self.handlers.iter().all(|handler| handler.ours);
        match self.rule {
            RuleId::HandlerDropped | RuleId::HandlerUnwatched if is_ours => {
                let severity = self.severity.min(Severity::Warning);
                Self { rule: RuleId::ExposedFunction, severity, ..self }
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
