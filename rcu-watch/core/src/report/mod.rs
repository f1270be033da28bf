//! What a run says, as data: the stream of messages that every sink prints.
//!
//! The stream's shape is the NDJSON contract: one [`Envelope`] a line, `header` first, `summary` last; a
//! missing summary means the run was cut short. `seq` is the stream's own number and has no gaps; order by it,
//! never by time. Integers that can pass 2^53 are strings, S, N, M and addresses in hex. Readers ignore
//! types and members that they do not know; additions keep [`SCHEMA`], anything else raises it.

use alloc::boxed::Box;

pub mod audit;
pub mod baseline;
pub mod check;
pub mod finding;
pub mod header;
pub mod plan;
pub mod progress;
#[cfg(test)]
mod schema;
pub mod snapshot;
pub mod summary;
pub mod transition;

use serde::Serialize;

use crate::units::{CpuId, Nanos};

pub use audit::{AuditTotals, AuditedFunction, CheckedFunction};
pub use baseline::Baseline;
pub use check::Check;
pub use finding::{FindingReport, Repeat};
pub use header::Header;
pub use plan::{LivepatchReport, PlanChange};
pub use progress::{Heartbeat, Lost, Missed, ProbeError};
pub use snapshot::SnapshotReport;
pub use summary::Summary;
pub use transition::Transition;

/// Version of the stream's shape.
pub const SCHEMA: u32 = 1;

/// One line of the stream.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Envelope {
    /// Number in this stream, from 0, without gaps.
    pub seq: u64,
    /// When it happened, `CLOCK_MONOTONIC`.
    pub ts_ns: Nanos,
    /// Where it happened; absent where that has no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuId>,
    #[serde(flatten)]
    pub message: Message,
}

/// What a line says: `"type"` and `"data"`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Message {
    Header(Box<Header>),
    Finding(Box<FindingReport>),
    Repeat(Repeat),
    /// Only with `--stream all`.
    Snapshot(Box<SnapshotReport>),
    /// Only with `--stream all` and watchpoints.
    Transition(Box<Transition>),
    Livepatch(LivepatchReport),
    PlanChange(PlanChange),
    Lost(Lost),
    Missed(Missed),
    ProbeError(ProbeError),
    /// Of `doctor`.
    Check(Check),
    Heartbeat(Heartbeat),
    /// `audit`: one suspect.
    Audited(Box<AuditedFunction>),
    /// `audit`: after the last suspect.
    AuditTotals(AuditTotals),
    /// `check`: one function.
    Checked(Box<CheckedFunction>),
    Summary(Box<Summary>),
}
