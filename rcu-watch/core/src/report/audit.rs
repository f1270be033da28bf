//! What `audit` and `check` say of a function.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::probe::{Handler, Mechanism};
use crate::report::finding::{Holder, StateReport};

/// One function that an audit suspected, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditedFunction {
    /// The function's name in kallsyms.
    pub function: String,
    /// The module that it is in; absent for the kernel itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// What became of the suspicion.
    pub verdict: AuditVerdict,
    /// Calls that the function tracer saw between a CPU's entry into an EQS and its exit.
    pub traced: u64,
    /// Who called it there most often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// What a probe on it read; absent where none was attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// Why it was not probed, or what else is to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AuditVerdict {
    /// A direct probe read the state: it ran with RCU off.
    Exposed,
    /// It is RCU's own, and its job is to run there.
    RcuInternal,
    /// No probe can or should sit on it: the trace is all there is.
    NotProbed,
    /// Its probe never fired.
    NotSeen,
    /// RCU watched in every call: it ran before the EQS, after it, or in an interrupt.
    Watched,
}

impl AuditVerdict {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a probe of our own on a function read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Observed {
    /// How the probe was attached.
    pub mechanism: Mechanism,
    /// Calls that the probe saw.
    pub calls: u64,
    /// Calls with RCU off.
    pub unwatched: u64,
    /// How long the probe was there.
    pub seconds: f64,
    /// Of the first call with RCU off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateReport>,
    /// Somebody else's handlers on the function.
    pub handlers: Vec<Handler>,
}

/// The sums of an audit, before the summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditTotals {
    /// Suspects that a probe read running with RCU off.
    pub exposed: u64,
    /// Functions that were looked at: all that ftrace can hook and `--function` chose, or the known candidates.
    pub audited: u64,
    /// Functions that the trace, or the list of candidates, made suspects.
    pub suspects: u64,
    /// Suspects that are RCU's own.
    pub rcu_internal: u64,
    /// Suspects that nobody could be sure of: no probe, or none that fired.
    pub unconfirmed: u64,
    /// Entries into an EQS that were traced.
    pub eqs_entries: u64,
    /// Calls of functions that were traced.
    pub traced_calls: u64,
    /// Times that the trace was overwritten before it was read.
    pub gaps: u64,
    /// How the audit came to its suspects.
    pub way: AuditWay,
}

/// How an audit came to its suspects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditWay {
    /// By the function tracer, between the events of going idle and coming back.
    FunctionTracer,
    /// By a list of known candidates, where ftrace is closed.
    Candidates,
}

/// The answer to `check` for one function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckedFunction {
    /// The function's name, as it was asked for.
    pub function: String,
    /// The livepatch that changes it, as named by its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// `vmlinux`, or the module that the function is in.
    pub object: String,
    /// What is known of it here.
    pub answer: CheckAnswer,
    /// Whether this answer, or what is foreseen, makes the exit code 2.
    pub refuses: bool,
    /// The answer in a sentence.
    pub because: String,
    /// What a probe on it read; absent where none was attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// What would come of hooking it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecasts: Vec<Forecast>,
}

/// What the kernel would make of a livepatch or another handler on a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// What would happen.
    pub kind: ForecastKind,
    /// Why, in half a sentence.
    pub because: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whose handlers it is about, as far as they are known by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<Handler>,
    /// The tasks that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
}

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForecastKind {
    /// The kernel would refuse it.
    Refused,
    /// The transition of a livepatch may not come to its end by itself.
    MayHang,
    /// The transition takes until the kernel has interrupted tasks that sleep.
    Delays,
    /// The kernel would take it, and patch the function when its module is loaded.
    Waits,
    /// Handlers of others would not run any more.
    FallsSilent,
    /// Something could not be looked at.
    Unseen,
}

impl ForecastKind {
    /// As people read it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Refused => "would be refused",
            Self::MayHang => "may hang",
            Self::Delays => "takes its time",
            Self::Waits => "waits",
            Self::FallsSilent => "falls silent",
            Self::Unseen => "not foreseen",
        }
    }
}

/// What is known of a function that somebody wants to hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckAnswer {
    /// Seen here and now to run with RCU off.
    RunsWithRcuOff,
    /// Kernels that let it be hooked are known to run it with RCU off, and this one lets it be.
    KnownVictim,
    /// The kernel refuses handlers on it: code of the entry into and exit from RCU's care.
    Noinstr,
    /// The kernel refuses handlers on it for another reason.
    NotTraceable,
    /// This kernel has no such function now.
    NotFound,
    /// Nothing is known of it and nothing could be observed.
    Unknown,
    /// Observed, and RCU watched each time.
    NoEvidence,
}

impl CheckAnswer {
    /// As people read it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::RunsWithRcuOff => "runs with RCU off",
            Self::KnownVictim => "known victim",
            Self::Noinstr => "noinstr",
            Self::NotTraceable => "not traceable",
            Self::NotFound => "not found",
            Self::Unknown => "unknown",
            Self::NoEvidence => "no evidence against it",
        }
    }
}
