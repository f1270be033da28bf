//! Severities and verdicts.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

pub use super::rules::table::RuleId;

/// How bad a finding is; ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, strum::Display, VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Protection depends on luck, or will break for whoever hooks this.
    Warning,
    /// Protection was broken, or the counters are corrupt.
    Error,
}

impl Severity {
    /// From the least to the worst.
    pub const ALL: &[Self] = Self::VARIANTS;
}

/// A rule that fired on one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The rule that fired.
    pub rule: RuleId,
    /// How bad it is on this snapshot; a rule may fire with several severities.
    pub severity: Severity,
    /// What about the state made it fire, in half a sentence.
    pub because: &'static str,
}
