//! An audit as a list of names that another tool reads: the functions of this kernel that nobody should hook.
//!
//! ```text
//! # rcu-watch 0.1.0, audit of host, kernel 6.1.0-44-amd64
//! arch_cpu_idle # ran with RCU off in 118 of 118 calls
//! ```
//!
//! All suspects are in it but those that were seen with RCU watching each time: a function that was traced in an EQS
//! and that no probe could confirm costs little to leave alone. An audit that was not conclusive says so in a comment,
//! and by its exit code.

use std::io::{self, Write};

use rcu_watch_core::report::audit::{AuditVerdict, Observed};
use rcu_watch_core::report::{AuditedFunction, Envelope, Message};

use crate::sink::Sink;

/// What the reader of the list takes besides names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    /// The reason, behind a `#`.
    Reasons,
    /// Nothing: retsnoop and tracefs take every word for a name.
    None,
}

pub struct Names<W> {
    out: W,
    comments: Comments,
}

impl<W: Write> Names<W> {
    pub fn new(out: W, comments: Comments) -> Self {
        Self { out, comments }
    }

    fn comment(&mut self, text: &str) -> io::Result<()> {
        match self.comments {
            Comments::Reasons => writeln!(self.out, "# {text}"),
            Comments::None => Ok(()),
        }
    }

    fn audited(&mut self, audited: &AuditedFunction) -> io::Result<()> {
        let Some(reason) = reason(audited) else { return Ok(()) };
        match self.comments {
            Comments::Reasons => writeln!(self.out, "{} # {reason}", audited.function),
            Comments::None => writeln!(self.out, "{}", audited.function),
        }
    }
}

impl<W: Write> Sink for Names<W> {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        match &envelope.message {
            Message::Header(header) => {
                let (host, release) = (&header.host, &header.kernel.release);
                self.comment(&format!("rcu-watch {}, audit of {host}, kernel {release}", header.version))
            }
            Message::Audited(audited) => self.audited(audited),
            Message::Summary(summary) => {
                for reason in &summary.reasons {
                    self.comment(&format!("not conclusive: {reason}"))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Why a function is on the list; `None` where it is not.
fn reason(audited: &AuditedFunction) -> Option<String> {
    let AuditedFunction { module, verdict, traced, observed, reason, .. } = audited;
    let said = match (verdict, observed) {
        (AuditVerdict::Watched, _) => return None,
        (AuditVerdict::Exposed, Some(Observed { calls, unwatched, .. })) => {
            format!("ran with RCU off in {unwatched} of {calls} calls")
        }
        (AuditVerdict::Exposed, None) => "ran with RCU off".to_owned(),
        (AuditVerdict::RcuInternal, _) => "RCU's own: its job is to run while RCU is off".to_owned(),
        (AuditVerdict::NotProbed | AuditVerdict::NotSeen, _) => {
            let traced = match traced {
                0 => "a known candidate".to_owned(),
                1 => "traced once in an EQS".to_owned(),
                more => format!("traced {more} times in an EQS"),
            };
            let why = reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("not confirmed, {traced}{why}")
        }
    };
    let module = module.as_ref().map_or_else(String::new, |module| format!(" (module {module})"));
    Some(format!("{said}{module}"))
}
