//! Which findings count, and what they make of a run.

use crate::finding::Severity;
use crate::report::summary::RunVerdict;

/// The least severity that makes a run one with findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// Any finding.
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors only.
    #[default]
    Error,
    /// No finding, however bad.
    Never,
}

impl FailOn {
    /// Whether a finding of this severity counts.
    #[must_use]
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Info => true,
            Self::Warning => severity >= Severity::Warning,
            Self::Error => severity >= Severity::Error,
            Self::Never => false,
        }
    }
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
    use super::*;

    #[test]
    fn a_finding_below_fail_on_leaves_the_run_clean() {
        assert_eq!(judge(Some(Severity::Warning), FailOn::Error, false), RunVerdict::Clean);
        assert_eq!(judge(Some(Severity::Warning), FailOn::Warning, false), RunVerdict::Findings);
        assert_eq!(judge(Some(Severity::Error), FailOn::Never, false), RunVerdict::Clean);
    }

    #[test]
    fn a_finding_outweighs_loss() {
        assert_eq!(judge(Some(Severity::Error), FailOn::Error, true), RunVerdict::Findings);
        assert_eq!(judge(None, FailOn::Error, true), RunVerdict::Inconclusive);
    }
}
