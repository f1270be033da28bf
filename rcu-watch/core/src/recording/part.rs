//! What the JSON frames of a recording hold.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Looked};
use crate::finding::RuleId;
use crate::model::kernel::KernelModel;
use crate::pipeline::Pipeline;
use crate::probe::Probe;
use crate::report::header::{BlindSpot, Clock, HandledSite, Header, Kernel, Layout, PlannedPoint};
use crate::report::summary::Book;
use crate::report::{LivepatchReport, Lost, Message, Missed, PlanChange, ProbeError};
use crate::stream::{Audience, Host, StreamListener};
use crate::units::{CpuId, Nanos, ProbeId, RealtimeOffset};

/// What is known before the first record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// When the run began, `CLOCK_MONOTONIC`.
    pub ts_ns: Nanos,
    /// The host's name.
    pub host: String,
    /// The boot that it ran in, as /proc/sys/kernel/random/boot_id has it.
    pub boot_id: String,
    /// The kernel that was watched.
    pub kernel: Kernel,
    /// What makes a time since 1970 of the recording's times.
    pub realtime_offset_ns: RealtimeOffset,
    /// Where the kernel keeps the words; `None` where that was not found out.
    pub layout: Option<Layout>,
    /// CPUs that were online.
    pub cpus: Vec<CpuId>,
    /// The probe points, and what was taken for each.
    pub plan: Vec<PlannedPoint>,
    /// Sites that somebody else's handlers sat on.
    pub handlers: Vec<HandledSite>,
    /// Pids of other instances of rcu-watch.
    pub other_instances: Vec<u32>,
    /// What the run could not see.
    pub blind_spots: Vec<BlindSpot>,
    /// The kernel as the rules know it.
    pub model: KernelModel,
    /// The probes that records refer to by id.
    pub probes: Vec<NumberedProbe>,
}

impl Start {
    /// What a live run's header and model tell a replay.
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
        let clock = Clock { name: "CLOCK_MONOTONIC".into(), realtime_offset_ns: self.realtime_offset_ns };
        Header {
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            kernel: self.kernel.clone(),
            layout: self.layout.clone(),
            cpus: self.cpus.clone(),
            plan: self.plan.clone(),
            handlers: self.handlers.clone(),
            other_instances: self.other_instances.clone(),
            blind_spots: self.blind_spots.clone(),
            ..Header::new("replay", clock)
        }
    }
}

/// A probe at its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NumberedProbe {
    /// The id that records carry.
    pub id: ProbeId,
    /// The probe that has it from here on.
    pub probe: Probe,
}

/// A message that no record makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// When it was said, `CLOCK_MONOTONIC`.
    pub ts_ns: Nanos,
    /// The CPU that it is about; `None` where it is about no single one.
    pub cpu: Option<CpuId>,
    /// The message itself.
    pub what: What,
}

/// The messages that a recording has to keep, since its records do not imply them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    /// Records that did not fit into the ring.
    Lost(Lost),
    /// Runs of a probe that the kernel skipped.
    Missed(Missed),
    /// A probe that could not be attached, or a record that could not be decoded.
    ProbeError(ProbeError),
    /// A livepatch came, moved tasks, or went.
    Livepatch(LivepatchReport),
    /// A probe or its handlers changed.
    PlanChange(PlanChange),
    /// What a look found: the first of its kind, and each that came again.
    Condition(Box<Condition>),
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

    /// Says it to the audience of a replay as the run said it.
    pub(crate) fn say<A: Audience, H: Host>(
        self,
        ts: Nanos,
        cpu: Option<CpuId>,
        pipeline: &mut Pipeline,
        listener: &mut StreamListener<'_, A, H>,
    ) {
        let message = match self {
            Self::Lost(lost) => Message::Lost(lost),
            Self::Missed(missed) => Message::Missed(missed),
            Self::ProbeError(error) => Message::ProbeError(error),
            Self::Livepatch(livepatch) => Message::Livepatch(livepatch),
            Self::PlanChange(change) => Message::PlanChange(change),
            Self::Condition(condition) => return listener.condition(pipeline, ts, &condition),
        };
        listener.send(ts, cpu, message);
    }
}

/// Names for addresses of the record that comes next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Names(pub BTreeMap<u64, String>);

/// How the run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// When the run ended, `CLOCK_MONOTONIC`.
    pub ts_ns: Nanos,
    /// How long the run watched.
    pub elapsed_ns: Nanos,
    /// What became of the hits, by probe and CPU.
    pub books: Vec<Book>,
    /// Runs of probes that the kernel skipped.
    pub missed: u64,
    /// Why the run was inconclusive beyond what its books say.
    pub unmet: Vec<String>,
    /// What the looks at the kernel's lists could say of each rule that they judge.
    #[serde(default)]
    pub looks: Vec<(RuleId, Looked)>,
}
