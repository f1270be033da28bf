//! Exit codes: one type, and the one place that maps to it.
//!
//! They are the contract with CI: 2 is a finding and nothing else is, so usage errors are 1 although most
//! tools use 2 for them. 124 and 255 are never used: `timeout` and virtme-ng speak through them.

use std::io;
use std::process::ExitCode;

use rcu_watch_core::finding::Severity;
use rcu_watch_core::report::summary::RunVerdict;
use rcu_watch_core::verdict::FailOn;

use crate::sink::options::Format;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// No finding at or above `--fail-on`.
    Clean,
    /// Usage errors and internal failures.
    Error,
    Findings,
    Inconclusive,
    /// Not supported or not permitted here: a skip.
    Unsupported,
    /// With `-- CMD`: no finding, but CMD failed.
    CommandFailed,
}

/// What this kernel or these privileges do not allow: the way to [`Exit::Unsupported`] through an error chain.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Exit {
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Error => 1,
            Self::Findings => 2,
            Self::Inconclusive => 3,
            Self::Unsupported => 4,
            Self::CommandFailed => 5,
        }
    }

    /// A run that came to its end. A finding outweighs a command that failed, and so does inconclusive.
    #[must_use]
    pub const fn of_run(verdict: RunVerdict, command_failed: bool) -> Self {
        match verdict {
            RunVerdict::Findings => Self::Findings,
            RunVerdict::Inconclusive => Self::Inconclusive,
            RunVerdict::Unsupported => Self::Unsupported,
            RunVerdict::Clean if command_failed => Self::CommandFailed,
            RunVerdict::Clean => Self::Clean,
        }
    }

    /// A run whose reader went away: it has what it wanted, and a break that it saw stays one.
    #[must_use]
    pub const fn of_closed_pipe(verdict: RunVerdict) -> Self {
        match verdict {
            RunVerdict::Findings => Self::Findings,
            _ => Self::Clean,
        }
    }

    #[must_use]
    pub fn of_error(error: &anyhow::Error) -> Self {
        if is_closed_pipe(error) {
            Self::Clean
        } else if error.chain().any(<dyn std::error::Error>::is::<Unsupported>) {
            Self::Unsupported
        } else {
            Self::Error
        }
    }

    /// KTAP's readers know pass, fail and skip only.
    #[must_use]
    pub const fn in_format(self, format: Format) -> Self {
        match (format, self) {
            (Format::Ktap, Self::Findings | Self::Inconclusive | Self::CommandFailed) => Self::Error,
            (_, exit) => exit,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Whether this error is the reader of our output having gone away.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(pipe))
}

/// The verdict of a run: what was found outweighs what could not be seen.
#[must_use]
pub fn judge(worst: Option<Severity>, fail_on: FailOn, inconclusive: bool) -> RunVerdict {
    if worst.is_some_and(|severity| fail_on.includes(severity)) {
        RunVerdict::Findings
    } else if inconclusive {
        RunVerdict::Inconclusive
    } else {
        RunVerdict::Clean
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_finding_below_fail_on_leaves_the_run_clean() {
        assert_eq!(judge(Some(Severity::Warning), FailOn::Error, false), RunVerdict::Clean);
        assert_eq!(judge(Some(Severity::Warning), FailOn::Warning, false), RunVerdict::Findings);
        assert_eq!(judge(Some(Severity::Error), FailOn::Never, false), RunVerdict::Clean);
    }

    #[test]
    fn a_finding_outweighs_loss_and_a_failed_command() {
        assert_eq!(judge(Some(Severity::Error), FailOn::Error, true), RunVerdict::Findings);
        assert_eq!(Exit::of_run(RunVerdict::Findings, true).code(), 2);
        assert_eq!(Exit::of_run(RunVerdict::Inconclusive, true).code(), 3);
        assert_eq!(Exit::of_run(RunVerdict::Clean, true).code(), 5);
    }

    #[test]
    fn a_closed_pipe_is_success_unless_a_break_was_seen() {
        assert_eq!(Exit::of_closed_pipe(RunVerdict::Findings).code(), 2);
        assert_eq!(Exit::of_closed_pipe(RunVerdict::Inconclusive).code(), 0);
        let error =
            Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write").unwrap_err();
        assert_eq!(Exit::of_error(&error), Exit::Clean);
    }

    #[test]
    fn unsupported_is_found_under_any_context() {
        let error = anyhow::Error::new(Unsupported("no BTF".into())).context("cannot start");
        assert_eq!(Exit::of_error(&error).code(), 4);
        assert_eq!(Exit::of_error(&anyhow::anyhow!("other")).code(), 1);
    }

    #[test]
    fn ktap_knows_pass_fail_and_skip_only() {
        let codes = [Exit::Clean, Exit::Findings, Exit::Inconclusive, Exit::Unsupported, Exit::CommandFailed]
            .map(|exit| exit.in_format(Format::Ktap).code());
        assert_eq!(codes, [0, 1, 1, 4, 1]);
    }
}
