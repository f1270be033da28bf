//! The last message of a stream: the verdict, and the books that it rests on.

use serde::{Deserialize, Serialize};

use crate::core::finding::{RuleId, Severity};
use crate::core::probe::{Handler, Point};
use crate::core::units::{CpuId, ProbeId};
use crate::report::transition::Transitions;

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    pub verdict: RunVerdict,
    pub exit_code: u8,
    /// Why the run is inconclusive, or unsupported; empty otherwise.
    pub reasons: Vec<String>,
    pub elapsed_ns: String,
    /// Why it ended: `duration`, `limit`, `signal`, `command`, `closed_pipe`, `end_of_file`.
    pub ended_by: &'static str,
    pub totals: Totals,
    pub findings: Vec<FindingTotal>,
    pub rules: Vec<RuleStatus>,
    /// For each guard of the thread: how often it would have protected a handler, and how often not.
    pub guards: Vec<GuardTotal>,
    /// By CPU and probe; only those with a hit.
    pub books: Vec<Book>,
    pub cost: Cost,
    /// With `-- CMD`: how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child: Option<CommandStatus>,
    /// With watchpoints: what they saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Transitions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    Clean,
    Findings,
    Inconclusive,
    Unsupported,
}

/// Sums of [`Book`]s, and what the kernel skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totals {
    pub hits: u64,
    pub at_rest: u64,
    pub unstable: u64,
    pub emitted: u64,
    pub delivered: u64,
    pub lost: u64,
    pub missed: u64,
    /// Delivered records that could not be decoded.
    pub undecodable: u64,
}

/// What became of one probe's hits on one CPU: hits = at_rest + unstable + emitted; emitted = delivered + lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Book {
    pub probe: ProbeId,
    pub point: Point,
    pub symbol: String,
    pub cpu: CpuId,
    pub hits: u64,
    pub at_rest: u64,
    pub unstable: u64,
    pub emitted: u64,
    pub delivered: u64,
    pub lost: u64,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingTotal {
    pub id: u32,
    pub rule: RuleId,
    pub severity: Severity,
    pub function: String,
    pub handlers: Vec<Handler>,
    pub count: u64,
    pub fingerprint: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
    /// In the baseline: it does not count. The stream fills it in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleStatus {
    pub rule: RuleId,
    pub name: &'static str,
    pub status: RuleCoverage,
    /// Why it is blind or was not exercised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hits that it fired on.
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleCoverage {
    Judged,
    NotExercised,
    Blind,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuardTotal {
    pub guard: &'static str,
    pub protects: u64,
    pub fails: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// CPU seconds of this process, user and system.
    pub user_cpu_seconds: f64,
    /// Run time of the BPF programs; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpf_run_seconds: Option<f64>,
    pub ring_bytes: u64,
    pub max_resident_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CommandStatus {
    pub command: String,
    /// Absent where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}
