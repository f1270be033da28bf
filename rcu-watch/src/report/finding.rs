//! A break, as it is reported: the first of its kind in full, repeats as counts.

use serde::Serialize;

use crate::core::finding::{RuleId, Severity};
use crate::core::probe::{Handler, Mechanism, Point};
use crate::core::units::{Address, Counter, Nanos, PreemptCount, StateWord};

#[derive(Clone, Debug, Serialize)]
pub struct FindingReport {
    /// Number of this kind of break in this stream, from 1; [`Repeat`] and the summary refer to it.
    pub id: u32,
    pub rule: RuleId,
    pub name: &'static str,
    pub severity: Severity,
    /// What about the state made the rule fire.
    pub because: String,
    pub function: String,
    pub point: Point,
    pub mechanism: Mechanism,
    pub handlers: Vec<Handler>,
    pub state: StateReport,
    /// Which of the guards would have protected a handler here; empty where the question has no meaning.
    pub guards: Vec<GuardVerdict>,
    pub task: TaskReport,
    /// Innermost first; empty where none was taken.
    pub stack: Vec<Frame>,
    /// The CPU's own number of the snapshot, lost ones counted.
    #[serde(serialize_with = "as_string")]
    pub cpu_seq: u64,
    /// Equal for the same rule, function and handlers on any kernel and in any run.
    pub fingerprint: String,
    /// Sent by `--self-test`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

fn as_string<S: serde::Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

/// The words as read, decoded, and the state of the code that the probe saw or interrupted.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    #[serde(rename = "S")]
    pub state: StateWord,
    #[serde(rename = "N")]
    pub nesting: Counter,
    #[serde(rename = "M")]
    pub nmi_nesting: NmiNestingReport,
    #[serde(rename = "P")]
    pub preempt_count: PreemptCount,
    /// W of the words as read.
    pub watching: bool,
    /// `direct` or `exception`.
    pub vantage: &'static str,
    /// Whether RCU watched the code in question: W under `direct`, what M tells under `exception`.
    pub underlying_watching: bool,
    /// `kernel`, `idle`, `user`, `guest`; absent before 6.0, where the word does not hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'static str>,
    pub hardirq: bool,
    pub nmi: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct NmiNestingReport {
    pub raw: Counter,
    /// `kernel`, `eqs` or `window`: what the outermost counted context interrupted; `eqs` with depth 0 at M=0.
    pub base: &'static str,
    /// Counted contexts on top of the base.
    pub depth: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct GuardVerdict {
    pub guard: &'static str,
    /// Whether a handler behind this guard would have run with RCU watching, or been skipped.
    pub protects: bool,
    pub because: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct TaskReport {
    pub pid: u32,
    pub tgid: u32,
    pub comm: String,
    pub idle: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    pub address: Address,
    /// `function+0x1c`; absent where kallsyms has no name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
}

/// More of a finding that was reported before.
#[derive(Clone, Debug, Serialize)]
pub struct Repeat {
    pub id: u32,
    pub rule: RuleId,
    pub function: String,
    /// Since the finding or the last repeat.
    pub count: u64,
    pub last_ts_ns: Nanos,
}
