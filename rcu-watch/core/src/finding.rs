//! Severities and verdicts.

use core::fmt;

use serde::{Deserialize, Serialize};

pub use super::rules::table::RuleId;

/// How bad a finding is; ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Protection depends on luck, or will break for whoever hooks this.
    Warning,
    /// Protection was broken, or the counters are corrupt.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A rule that fired on one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    pub rule: RuleId,
    pub severity: Severity,
    /// What about the state made it fire, in half a sentence.
    pub because: &'static str,
}
