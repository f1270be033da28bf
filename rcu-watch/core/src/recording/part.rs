//! What the JSON frames of a recording hold.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::model::kernel::KernelModel;
use crate::probe::Probe;
use crate::report::header::{BlindSpot, Clock, HandledSite, Header, Kernel, Layout, PlannedPoint};
use crate::report::summary::Book;
use crate::report::{LivepatchReport, Lost, Message, Missed, PlanChange, ProbeError, SCHEMA};
use crate::units::{CpuId, Nanos, ProbeId, RealtimeOffset};

/// What is known before the first record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    pub ts_ns: Nanos,
    pub host: String,
    pub boot_id: String,
    pub kernel: Kernel,
    pub realtime_offset_ns: RealtimeOffset,
    pub layout: Option<Layout>,
    pub cpus: Vec<CpuId>,
    pub plan: Vec<PlannedPoint>,
    pub handlers: Vec<HandledSite>,
    pub other_instances: Vec<u32>,
    pub blind_spots: Vec<BlindSpot>,
    /// The kernel as the rules know it.
    pub model: KernelModel,
    pub probes: Vec<NumberedProbe>,
}

impl Start {
    #[must_use]
    pub fn new(ts_ns: Nanos, header: &Header, model: &KernelModel, probes: Vec<NumberedProbe>) -> Self {
        Self {
            ts_ns,
            host: header.host.clone(),
            boot_id: header.boot_id.clone(),
            kernel: header.kernel.clone(),
            realtime_offset_ns: header.clock.realtime_offset_ns,
            layout: header.layout.clone(),
            cpus: header.cpus.clone(),
            plan: header.plan.clone(),
            handlers: header.handlers.clone(),
            other_instances: header.other_instances.clone(),
            blind_spots: header.blind_spots.clone(),
            model: model.clone(),
            probes,
        }
    }

    /// The header of the replayed stream.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            schema: SCHEMA,
            tool: "rcu-watch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            command: "replay".to_owned(),
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            kernel: self.kernel.clone(),
            clock: Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: self.realtime_offset_ns },
            layout: self.layout.clone(),
            transport: None,
            cpus: self.cpus.clone(),
            plan: self.plan.clone(),
            handlers: self.handlers.clone(),
            other_instances: self.other_instances.clone(),
            blind_spots: self.blind_spots.clone(),
        }
    }
}

/// A probe at its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NumberedProbe {
    pub id: ProbeId,
    pub probe: Probe,
}

/// A message that no record makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    pub ts_ns: Nanos,
    pub cpu: Option<CpuId>,
    pub what: What,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    Lost(Lost),
    Missed(Missed),
    ProbeError(ProbeError),
    Livepatch(LivepatchReport),
    PlanChange(PlanChange),
}

impl What {
    /// The part of a message that a recording keeps; `None` where records make it again.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Lost(lost) => Some(Self::Lost(lost.clone())),
            Message::Missed(missed) => Some(Self::Missed(missed.clone())),
            Message::ProbeError(error) => Some(Self::ProbeError(error.clone())),
            Message::Livepatch(livepatch) => Some(Self::Livepatch(livepatch.clone())),
            Message::PlanChange(change) => Some(Self::PlanChange(change.clone())),
            _ => None,
        }
    }

    #[must_use]
    pub fn message(self) -> Message {
        match self {
            Self::Lost(lost) => Message::Lost(lost),
            Self::Missed(missed) => Message::Missed(missed),
            Self::ProbeError(error) => Message::ProbeError(error),
            Self::Livepatch(livepatch) => Message::Livepatch(livepatch),
            Self::PlanChange(change) => Message::PlanChange(change),
        }
    }
}

/// Names for addresses of the record that comes next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Names(pub BTreeMap<u64, String>);

/// How the run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    pub ts_ns: Nanos,
    pub elapsed_ns: Nanos,
    pub books: Vec<Book>,
    pub missed: u64,
    /// Why the run was inconclusive beyond what its books say.
    pub unmet: Vec<String>,
}
