//! The last message of a stream: the verdict, and the books that it rests on.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::AddAssign;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, Point};
use crate::report::transition::Transitions;
use crate::rules::guard::Guard;
use crate::track::Tracks;
use crate::units::{CpuId, Nanos, ProbeId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    pub verdict: RunVerdict,
    pub exit_code: u8,
    /// Why the run is inconclusive, or unsupported; empty otherwise.
    pub reasons: Vec<String>,
    pub elapsed_ns: Nanos,
    pub ended_by: EndedBy,
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
    /// Where records were compared with the one before them, by the model at run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
}

impl Summary {
    /// A summary with nothing to tell but how it ended; what else there is to tell is filled in.
    #[must_use]
    pub fn new(verdict: RunVerdict, exit_code: u8, ended_by: EndedBy) -> Self {
        Self {
            verdict,
            exit_code,
            reasons: Vec::new(),
            elapsed_ns: Nanos(0),
            ended_by,
            totals: Totals::default(),
            findings: Vec::new(),
            rules: Vec::new(),
            guards: Vec::new(),
            books: Vec::new(),
            cost: Cost::default(),
            child: None,
            transitions: None,
            followed: None,
        }
    }
}

/// Why a stream has come to its summary. A stream without one was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum EndedBy {
    /// `watch`, `record`, `top`: the time of `--duration` is over.
    Duration,
    /// `watch`, `record`, `top`: as many findings as `--limit` asked for were told.
    Limit,
    /// SIGINT or SIGTERM came.
    Signal,
    /// With `-- CMD`: the command has ended.
    Command,
    /// Whoever read the stream went away.
    ClosedPipe,
    /// `replay` and `dmesg`: all of the file was read.
    EndOfFile,
    /// `audit`: every suspect was looked at.
    EndOfAudit,
    /// `check`: every function was answered.
    EndOfCheck,
    /// Any command: nothing could begin; the reasons say why.
    Refusal,
    /// `doctor`: all is said.
    Diagnosis,
    /// `probes`: the plan is printed.
    Plan,
}

impl EndedBy {
    /// As it is written in the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// The model at run time: how far it could follow the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Followed {
    /// Records that were compared with the one before them on their CPU.
    pub records: u64,
    /// How often it started over on a CPU, because the stream lacks runs in between: lost, unstable, or at rest
    /// and only counted.
    pub restarts: u64,
}

impl Followed {
    /// `None` where nothing was numbered: a recording of an older build, or nothing but at rest.
    #[must_use]
    pub fn of(tracks: &Tracks) -> Option<Self> {
        let followed = Self { records: tracks.followed(), restarts: tracks.restarts() };
        (followed.records + followed.restarts > 0).then_some(followed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    Clean,
    Findings,
    Inconclusive,
    Unsupported,
}

/// Sums of [`Book`]s, and what the kernel skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        let Self { hits, at_rest, unstable, emitted, delivered, lost, missed, undecodable } = more;
        self.hits += hits;
        self.at_rest += at_rest;
        self.unstable += unstable;
        self.emitted += emitted;
        self.delivered += delivered;
        self.lost += lost;
        self.missed += missed;
        self.undecodable += undecodable;
    }
}

/// What became of one probe's hits on one CPU: hits = at_rest + unstable + emitted; emitted = delivered + lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingTotal {
    pub id: u32,
    pub rule: RuleId,
    pub severity: Severity,
    pub function: String,
    pub handlers: Vec<Handler>,
    pub count: u64,
    pub fingerprint: String,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub synthetic: bool,
    /// In the baseline: it does not count. The stream fills it in.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub known: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleStatus {
    pub rule: RuleId,
    pub name: Cow<'static, str>,
    pub status: RuleCoverage,
    /// Why it is blind or was not exercised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hits that it fired on.
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleCoverage {
    Judged,
    NotExercised,
    Blind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuardTotal {
    pub guard: Guard,
    pub protects: u64,
    pub fails: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// CPU seconds of this process, user and system.
    pub user_cpu_seconds: f64,
    /// Run time of the BPF programs; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpf_run_seconds: Option<f64>,
    pub ring_bytes: u64,
    /// Memory of this process: as the run ended, and the most that it ever was.
    pub resident_bytes: u64,
    pub max_resident_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CommandStatus {
    pub command: String,
    /// Absent where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}
