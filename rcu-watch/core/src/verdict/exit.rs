//! Exit codes: one type, and the one place that maps to it.
//!
//! They are the contract with CI: 2 is a finding and nothing else is, so usage errors are 1 although most
//! tools use 2 for them. 124 and 255 are never used: `timeout` and virtme-ng speak through them.

use alloc::string::String;

use crate::report::summary::RunVerdict;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// No finding at or above `--fail-on`.
    Clean,
    /// Usage errors and internal failures.
    Error,
    /// A finding at or above `--fail-on`.
    Findings,
    /// No such finding, but one may have been missed.
    Inconclusive,
    /// Not supported or not permitted here: a skip.
    Unsupported,
    /// With `-- CMD`: no finding, but CMD failed.
    CommandFailed,
}

/// Which exit codes whoever started the run knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codes {
    /// Every code of [`Exit`].
    #[default]
    All,
    /// Readers of KTAP know pass, fail and skip only.
    Ktap,
}

/// What this kernel or these privileges do not allow: the way to [`Exit::Unsupported`] through an error chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Exit {
    /// The number that a process ends with.
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

    /// Where the reader went away before it was told: a break stays one, but nobody heard that there was none.
    #[must_use]
    pub const fn unheard(self) -> Self {
        match self {
            Self::Clean | Self::CommandFailed => Self::Inconclusive,
            exit => exit,
        }
    }

    /// The nearest that can be said with `codes`.
    #[must_use]
    pub const fn among(self, codes: Codes) -> Self {
        match (codes, self) {
            (Codes::Ktap, Self::Findings | Self::Inconclusive | Self::CommandFailed) => Self::Error,
            (_, exit) => exit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_outweighs_a_failed_command() {
        assert_eq!(Exit::of_run(RunVerdict::Findings, true).code(), 2);
        assert_eq!(Exit::of_run(RunVerdict::Inconclusive, true).code(), 3);
        assert_eq!(Exit::of_run(RunVerdict::Clean, true).code(), 5);
    }

    #[test]
    fn what_nobody_heard_is_not_clean_and_a_break_stays_one() {
        let all = [Exit::Clean, Exit::Error, Exit::Findings, Exit::Inconclusive, Exit::Unsupported];
        assert_eq!(all.map(|exit| exit.unheard().code()), [3, 1, 2, 3, 4]);
        assert_eq!(Exit::CommandFailed.unheard().code(), 3);
    }

    #[test]
    fn ktap_knows_pass_fail_and_skip_only() {
        let codes = [Exit::Clean, Exit::Findings, Exit::Inconclusive, Exit::Unsupported, Exit::CommandFailed]
            .map(|exit| exit.among(Codes::Ktap).code());
        assert_eq!(codes, [0, 1, 1, 4, 1]);
    }
}
