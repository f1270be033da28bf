//! The first message of a stream: where it ran, what it watches, and what it cannot see.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::probe::{Handler, Mechanism, Point};
use crate::units::{Address, CpuId, ProbeId, RealtimeOffset};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Header {
    pub schema: u32,
    /// `rcu-watch`.
    pub tool: Cow<'static, str>,
    pub version: Cow<'static, str>,
    /// The command that made this stream: `watch`, `probes`, `replay`...
    pub command: String,
    pub host: String,
    pub boot_id: String,
    pub kernel: Kernel,
    pub clock: Clock,
    /// Absent where no kernel was probed far enough to know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How records leave the kernel. Absent where none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    pub cpus: Vec<CpuId>,
    pub plan: Vec<PlannedPoint>,
    /// Sites that somebody else's handlers sat on at start.
    pub handlers: Vec<HandledSite>,
    /// Pids of other instances of rcu-watch.
    pub other_instances: Vec<u32>,
    pub blind_spots: Vec<BlindSpot>,
}

/// How records leave the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
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
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
}

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
    pub watching_mask: String,
    pub nmi_mask: String,
    pub hardirq_mask: String,
    pub calibrated: bool,
    /// What calibration saw, a sentence each.
    pub calibration: Vec<String>,
}

/// A semantic probe point and the candidate that was taken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedPoint {
    pub point: Point,
    /// The function or tracepoint that the point is about, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    pub required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenProbe>,
    pub passed_over: Vec<PassedOver>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChosenProbe {
    /// Absent in a plan that was only printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeId>,
    pub mechanism: Mechanism,
    pub symbol: String,
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
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PassedOver {
    pub mechanism: Mechanism,
    pub symbol: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandledSite {
    pub function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    pub handlers: Vec<Handler>,
}

/// Something that this kernel, these privileges or these options do not let the run see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlindSpot {
    /// The point or rule that is blind.
    pub what: String,
    pub reason: String,
    /// What would make it visible, where something would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
