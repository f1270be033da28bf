//! How a run goes: the status line's numbers, and everything that went missing.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::units::{Nanos, ProbeId};

/// Every ten seconds, and what the status line shows. Counts are since start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// How long the run has watched.
    pub elapsed_ns: Nanos,
    /// Context switches judged.
    pub checkpoints: u64,
    /// Runs of probes on functions with foreign handlers.
    pub handler_calls: u64,
    /// Entries into idle seen.
    pub idle_entries: u64,
    /// NMIs seen.
    pub nmis: u64,
    /// Breaks that were found, every repeat counted.
    pub findings: u64,
    /// Records that there was no room for.
    pub lost: u64,
    /// Runs of probes that the kernel skipped.
    pub missed: u64,
    /// Runs of all probes.
    pub hits: u64,
    /// Bytes of the records that were delivered.
    pub record_bytes: u64,
    /// CPU time of rcu-watch since it started, user and system.
    pub user_cpu_seconds: f64,
    /// Run time of the BPF programs; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpf_run_seconds: Option<f64>,
    /// User-space CPU time of rcu-watch over elapsed time, in percent of one CPU.
    pub user_cost_percent: f64,
    /// Run time of the BPF programs over elapsed time and CPUs, in percent; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_cost_percent: Option<f64>,
}

/// Records that the ring buffer had no room for, since the last message of this kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lost {
    /// The probe that sent them.
    pub probe: ProbeId,
    /// The function or tracepoint that it is on.
    pub symbol: String,
    /// How many records.
    pub count: u64,
}

/// Runs that the kernel itself skipped (its recursion guard), since the last message of this kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Missed {
    /// The probe that did not run.
    pub probe: ProbeId,
    /// The function or tracepoint that it is on.
    pub symbol: String,
    /// How many runs.
    pub count: u64,
}

/// Messages that were not written, because the reader of standard output or standard error took nothing for a time, since
/// the last message of this kind. The gaps in `seq` are theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutputDropped {
    /// How many messages.
    pub messages: u64,
    /// How many of them were findings, which are the last to go.
    pub findings: u64,
}

impl OutputDropped {
    /// Whether nothing was dropped.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.messages == 0
    }
}

/// A probe that could not be attached, or a record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProbeError {
    /// Absent where the probe got no id, or the record names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeId>,
    /// The function or tracepoint that it is about.
    pub symbol: String,
    /// What went wrong, and what to do about it.
    pub error: String,
}
