//! Rule ids, severities and verdicts.

use alloc::borrow::Cow;
use core::fmt;

use serde::{Deserialize, Serialize, de};

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

macro_rules! rules {
    ($($variant:ident = $code:literal $name:literal;)*) => {
        /// A rule's stable id. Ids are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RuleId { $($variant),* }

        impl RuleId {
            /// Every rule, in the order of the ids.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The id as people write it: `RW001`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The rule's name: `handler-unwatched`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

rules! {
    HandlerUnwatched = "RW001" "handler-unwatched";
    IrqEnterNoEffect = "RW002" "irq-enter-no-effect";
    NmiEdge = "RW003" "nmi-edge";
    ExceptionNotNmi = "RW004" "exception-not-nmi";
    IrqsOnInSection = "RW005" "irqs-on-in-section";
    NestingImbalance = "RW006" "nesting-imbalance";
    StateDisagrees = "RW007" "state-disagrees";
    LivepatchBypassed = "RW008" "livepatch-bypassed";
    EqsWindowHit = "RW009" "eqs-window-hit";
    UncountedContext = "RW010" "uncounted-context";
    RcuOffline = "RW011" "rcu-offline";
    UnknownWriter = "RW012" "unknown-writer";
    HandlerDropped = "RW013" "handler-dropped";
    SampledInEqs = "RW014" "sampled-in-eqs";
    ExposedFunction = "RW015" "exposed-function";
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for RuleId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = Cow::<str>::deserialize(deserializer)?;
        let rule = Self::ALL.iter().copied().find(|rule| rule.code() == code);
        rule.ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&code), &"the id of a rule"))
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
