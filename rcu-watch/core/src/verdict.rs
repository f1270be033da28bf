//! From what a run found to what it is worth: which findings count.

use crate::finding::Severity;

/// The least severity that makes a run one with findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    Info,
    Warning,
    #[default]
    Error,
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
