//! The last message of a stream: the verdict, and the books that it rests on.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::AddAssign;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::finding::{RuleId, Severity};
use crate::probe::{Handler, Point};
use crate::report::OutputDropped;
use crate::report::transition::Transitions;
use crate::rules::guard::Guard;
use crate::track::Tracks;
use crate::units::{CpuId, Nanos, ProbeId};

/// How a run ended, and what its verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// What the run is worth.
    pub verdict: RunVerdict,
    /// What the process exits with.
    pub exit_code: u8,
    /// Why the run is inconclusive, or unsupported; empty otherwise.
    pub reasons: Vec<String>,
    /// How long the run watched; of a replay, how long the recorded run did; 0 where nothing was watched.
    pub elapsed_ns: Nanos,
    /// Why the run is over.
    pub ended_by: EndedBy,
    /// The books, summed up.
    pub totals: Totals,
    /// Every kind of break, with its exact count.
    pub findings: Vec<FindingTotal>,
    /// Every rule, and whether the run could judge it.
    pub rules: Vec<RuleStatus>,
    /// For each guard of the thread: how often it would have protected a handler, and how often not.
    pub guards: Vec<GuardTotal>,
    /// By CPU and probe; only those with a hit.
    pub books: Vec<Book>,
    /// What the run took of this machine.
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
    /// What was not written of this stream, because its reader took nothing for a time.
    #[serde(default, skip_serializing_if = "OutputDropped::is_none")]
    pub output_dropped: OutputDropped,
    /// Of a kernel log: how it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRead>,
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
            output_dropped: OutputDropped::default(),
            log: None,
        }
    }
}

/// How a kernel log was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogRead {
    /// Its lines.
    pub lines: u64,
    /// What was put around the kernel's own words, from the outside in.
    pub form: String,
    /// Lines that speak of RCU and could not be parsed.
    pub unread: u64,
}

/// Why a stream has come to its summary. A stream without one was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
    /// `handlers` and `patches`: everything is listed.
    Listed,
}

impl EndedBy {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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

/// What a run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// No finding counts, and nothing was in the way of one.
    Clean,
    /// At least one finding is as bad as `--fail-on` asks for, and not in the baseline; of `handlers --exit-on-change`, a
    /// handler is not as it was.
    Findings,
    /// No finding counts, but one may have been missed: the reasons say how.
    Inconclusive,
    /// Nothing could be watched on this kernel or with these privileges.
    Unsupported,
}

/// Sums of [`Book`]s, and what the kernel skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totals {
    /// Runs of the probes.
    pub hits: u64,
    /// Hits that found every word at rest, and were only counted.
    pub at_rest: u64,
    /// Hits whose words changed while they were read; nothing is judged by them.
    pub unstable: u64,
    /// Hits that had a record to send.
    pub emitted: u64,
    /// Records that arrived.
    pub delivered: u64,
    /// Records that there was no room for.
    pub lost: u64,
    /// Runs that the kernel itself skipped, by its recursion guard; no hits.
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
    /// The probe's id in the plan.
    pub probe: ProbeId,
    /// What it is there to see.
    pub point: Point,
    /// The function or tracepoint that it is on.
    pub symbol: String,
    /// The CPU that it ran on.
    pub cpu: CpuId,
    /// Runs of the probe.
    pub hits: u64,
    /// Hits that found every word at rest, and were only counted.
    pub at_rest: u64,
    /// Hits whose words changed while they were read; nothing is judged by them.
    pub unstable: u64,
    /// Hits that had a record to send.
    pub emitted: u64,
    /// Records that arrived.
    pub delivered: u64,
    /// Records that there was no room for.
    pub lost: u64,
}

/// One kind of break, and how often it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingTotal {
    /// The id of the finding that told of it first.
    pub id: u32,
    /// The rule that fired.
    pub rule: RuleId,
    /// How bad it was on first sight.
    pub severity: Severity,
    /// The function or tracepoint that was hit.
    pub function: String,
    /// Whose handlers are on the function, ours left out.
    pub handlers: Vec<Handler>,
    /// Hits that it was seen on, the first included.
    pub count: u64,
    /// Equal for the same rule, function and handlers on any kernel and in any run.
    pub fingerprint: String,
    /// Sent by `--self-test`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub synthetic: bool,
    /// In the baseline: it does not count. The stream fills it in.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub known: bool,
}

/// One rule, and what the run could say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleStatus {
    /// The rule's id.
    pub rule: RuleId,
    /// The rule's name, as `rcu-watch explain` lists it.
    pub name: Cow<'static, str>,
    /// Whether it judged anything.
    pub status: RuleCoverage,
    /// Why it is blind or was not exercised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Hits that it fired on.
    pub count: u64,
}

/// Whether a run could judge a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleCoverage {
    /// At least one hit let it judge.
    Judged,
    /// It would have judged, but nothing that it judges happened.
    NotExercised,
    /// No probe of the run lets it judge.
    Blind,
}

/// One guard, and what it would have done for handlers over the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuardTotal {
    /// What a handler would have called or asked first.
    pub guard: Guard,
    /// Breaks whose handler it would have protected, or skipped.
    pub protects: u64,
    /// Breaks whose handler would have run unprotected in spite of it.
    pub fails: u64,
}

/// What the run took of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// CPU seconds of this process, user and system.
    pub user_cpu_seconds: f64,
    /// Run time of the BPF programs; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpf_run_seconds: Option<f64>,
    /// Memory of the buffers that records came through, over all CPUs.
    pub ring_bytes: u64,
    /// Memory of this process: as the run ended, and the most that it ever was.
    pub resident_bytes: u64,
    /// The most that it ever was.
    pub max_resident_bytes: u64,
}

/// How the command behind `--` ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CommandStatus {
    /// The command as it was given, with its arguments.
    pub command: String,
    /// Absent where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it; absent where it exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}
