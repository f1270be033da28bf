//! The first message of a stream: where it ran, what it watches, and what it cannot see.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::probe::{Handler, Mechanism, Point};
use crate::report::SCHEMA;
use crate::units::{Address, CpuId, ProbeId, RealtimeOffset};

/// Where a stream comes from, and what it can tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Header {
    /// Version of the stream's shape; additions keep it, anything else raises it.
    pub schema: u32,
    /// `rcu-watch`.
    pub tool: Cow<'static, str>,
    /// The version of rcu-watch that made this stream.
    pub version: Cow<'static, str>,
    /// The command that made this stream: `watch`, `probes`, `replay`...
    pub command: String,
    /// The host's name.
    pub host: String,
    /// The boot that it ran in, as /proc/sys/kernel/random/boot_id has it.
    pub boot_id: String,
    /// The kernel that was watched.
    pub kernel: Kernel,
    /// What the stream's times count.
    pub clock: Clock,
    /// Absent where no kernel was probed far enough to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How records leave the kernel. Absent where none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// CPUs that were online at start.
    pub cpus: Vec<CpuId>,
    /// The probe points, and what was taken for each.
    pub plan: Vec<PlannedPoint>,
    /// Sites that somebody else's handlers sat on at start.
    pub handlers: Vec<HandledSite>,
    /// Pids of other instances of rcu-watch.
    pub other_instances: Vec<u32>,
    /// What the run could not see.
    pub blind_spots: Vec<BlindSpot>,
}

impl Header {
    /// A header of who speaks and by what clock; nothing is known of the kernel yet.
    #[must_use]
    pub fn new(command: &str, clock: Clock) -> Self {
        Self {
            schema: SCHEMA,
            tool: "rcu-watch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.to_owned(),
            host: String::new(),
            boot_id: String::new(),
            kernel: Kernel { release: String::new(), machine: String::new() },
            clock,
            layout: None,
            transport: None,
            cpus: Vec::new(),
            plan: Vec::new(),
            handlers: Vec::new(),
            other_instances: Vec::new(),
            blind_spots: Vec::new(),
        }
    }
}

/// How records leave the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Transport {
    /// One BPF ring buffer.
    #[default]
    RingBuffer,
    /// A perf buffer for each CPU.
    PerfEventArray,
}

impl Transport {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The kernel that was watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
}

/// What the stream's times count, and how to make a date of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Clock {
    /// `CLOCK_MONOTONIC`.
    pub name: Cow<'static, str>,
    /// Add to a `ts_ns` to have nanoseconds since 1970. A string: it passes 2^53.
    pub realtime_offset_ns: RealtimeOffset,
}

/// Where this kernel keeps the words, and whether they were seen to mean what they should.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Layout {
    /// `G2`, `G4`, ...
    pub generation: String,
    /// `rcu_data.dynticks`, `context_tracking.state`, ...
    pub state_member: String,
    /// The bit of S that says RCU watches, in hex.
    pub watching_mask: String,
    /// Bits of P that count NMIs, in hex.
    pub nmi_mask: String,
    /// Bits of P that count hard irqs, in hex.
    pub hardirq_mask: String,
    /// The words were seen to mean what the layout says.
    pub calibrated: bool,
    /// What calibration saw, a sentence each.
    pub calibration: Vec<String>,
}

/// A semantic probe point and the candidate that was taken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedPoint {
    /// What is to be seen.
    pub point: Point,
    /// The function or tracepoint that the point is about, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The run rests on it: where neither it nor one that stands in for it is watched, the verdict is inconclusive.
    pub required: bool,
    /// The candidate that was taken; absent where none could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenProbe>,
    /// Candidates that could not be taken, in the order in which they were tried.
    pub passed_over: Vec<PassedOver>,
}

/// The candidate that was taken for a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChosenProbe {
    /// Absent in a plan that was only printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeId>,
    /// How it is attached.
    pub mechanism: Mechanism,
    /// The function or tracepoint that it is on.
    pub symbol: String,
    /// Whether it was shown to fire.
    pub proof: Proof,
}

/// Whether a probe was shown to fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A printed plan attaches nothing.
    NotAttached,
    /// It fired on every CPU where it has to.
    Proven,
    /// Attached; nothing has called its function yet.
    Unproven,
    /// Attached and silent although every run exercises it.
    Silent,
    /// The kernel refused to attach it.
    Failed,
}

/// A candidate that was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PassedOver {
    /// How it would have been attached.
    pub mechanism: Mechanism,
    /// The function or tracepoint that it would have been on.
    pub symbol: String,
    /// Why it was not taken.
    pub reason: String,
}

/// A function that somebody else's handlers sit on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandledSite {
    /// The function's name in kallsyms.
    pub function: String,
    /// Where it is; absent where addresses are hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Whose handlers they are.
    pub handlers: Vec<Handler>,
}

/// Something that this kernel, these privileges or these options do not let the run see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlindSpot {
    /// The point or rule that is blind.
    pub what: String,
    /// Why it is blind.
    pub reason: String,
    /// What would make it visible, where something would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
