//! Streams of records without end, made of the corpus.

use std::fs::File;
use std::io::BufReader;
use std::mem::offset_of;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcu_watch::recording::{FileSource, Recorder};
use rcu_watch_common::record::SnapshotRecord;
use rcu_watch_common::slot;
use rcu_watch_core::decode::{decode, encode};
use rcu_watch_core::pipeline::Pipeline;
use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Point, Probe, Reliance};
use rcu_watch_core::recording::frame::{Frame, Frames};
use rcu_watch_core::recording::part::{End, NumberedProbe, Start};
use rcu_watch_core::snapshot::{RcuState, Snapshot};
use rcu_watch_core::units::{Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

/// An id that no recorded probe has.
const PATCHED: ProbeId = ProbeId(120);
const PROBES: u32 = slot::COUNT;
/// Those whose runs tell where a CPU is.
const TRACKING: [u32; 4] = [slot::CHECKPOINT, slot::EQS_ENTER, slot::EQS_EXIT, slot::WATCH_STATE];

/// A recording of a stock kernel.
pub(crate) struct Corpus {
    start: Start,
    /// Those without a stack: a stack comes with the first hit of a function only.
    records: Vec<Vec<u8>>,
}

impl Corpus {
    pub(crate) fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/6.1.rec");
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut start = None;
        let mut records = Vec::new();
        for frame in Frames::new(FileSource(BufReader::new(file)))? {
            match frame? {
                Frame::Start(json) => start = Some(serde_json::from_slice(&json)?),
                Frame::Record(bytes) => {
                    let snapshot = decode(&bytes, PROBES)?;
                    if !snapshot.synthetic && snapshot.stack.is_empty() {
                        records.push(bytes);
                    }
                }
                _ => {}
            }
        }
        Ok(Self { start: start.context("the corpus has no start")?, records })
    }

    /// A pipeline with the recorded plan, and a livepatched function besides.
    pub(crate) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::new(self.start.model.clone(), Vec::new());
        for NumberedProbe { id, probe } in &self.start.probes {
            pipeline.set_probe(*id, probe.clone());
        }
        pipeline.set_probe(PATCHED, patched());
        pipeline
    }

    /// Writes a recording of `count` records.
    pub(crate) fn record(&self, path: &Path, mut records: Records, count: u64) -> Result<()> {
        let mut recorder = Recorder::create(path)?;
        recorder.start(&self.start);
        for _ in 0..count {
            recorder.record(records.next());
        }
        recorder.end(&End {
            ts_ns: Nanos(count),
            elapsed_ns: Nanos(count),
            books: Vec::new(),
            missed: 0,
            unmet: Vec::new(),
            looks: Vec::new(),
        })
    }
}

fn patched() -> Probe {
    Probe {
        point: Point::PatchedFunction,
        mechanism: Mechanism::Fentry,
        symbol: "arch_cpu_idle".to_owned(),
        handlers: vec![Handler {
            kind: HandlerKind::Livepatch,
            name: "livepatch_idle".to_owned(),
            event: None,
            program: None,
            reliance: Reliance::Relies,
            ours: false,
            owner: None,
        }],
        is_rcu_internal: false,
        ftrace_validates_rcu: false,
    }
}

/// Records of a turn, whatever the number of CPUs: 512 KiB, so that reading them costs the same.
const RING: usize = 4096;

/// Records whose numbers and times go on for ever.
pub(crate) struct Records {
    ring: Vec<Vec<u8>>,
    /// For each record of the ring, which of the counts below are its own.
    slots: Vec<(usize, Option<usize>)>,
    /// The next number of each probe on each CPU.
    sequences: Vec<u64>,
    /// The last number of each CPU's runs that tell where it is.
    tracks: Vec<u32>,
    at: usize,
    ts: u64,
}

impl Records {
    /// What a kernel that nothing is wrong with sends, all of it, on as many CPUs.
    pub(crate) fn quiet(corpus: &Corpus, cpus: u32) -> Self {
        let of_one: Vec<_> = corpus.records.iter().filter_map(|bytes| decode(bytes, PROBES).ok()).collect();
        let of_one: Vec<_> = of_one.iter().filter(|snapshot| snapshot.cpu == of_one[0].cpu).collect();
        Self::on(cpus, |at| *of_one[at % of_one.len()])
    }

    /// Nothing but hits of a livepatched function in an EQS.
    pub(crate) fn broken(cpus: u32) -> Self {
        Self::on(cpus, |at| Snapshot {
            probe: PATCHED,
            rcu: RcuState {
                state: StateWord(1 + 8 * at as u32),
                nesting: Counter(0),
                nmi_nesting: Counter(0),
                preempt_count: PreemptCount(0),
            },
            ..Snapshot::default()
        })
    }

    /// Every CPU sends the same, a record each in turn.
    fn on<'a>(cpus: u32, record: impl Fn(usize) -> Snapshot<'a>) -> Self {
        let mut records = Self {
            ring: Vec::new(),
            slots: Vec::new(),
            sequences: vec![0; (cpus * PROBES) as usize],
            tracks: vec![0; cpus as usize],
            at: 0,
            ts: 0,
        };
        for at in 0..RING / cpus as usize {
            for cpu in 0..cpus {
                let snapshot = record(at);
                let tracks = TRACKING.contains(&snapshot.probe.0);
                let sequence = cpu * PROBES + snapshot.probe.0;
                records.slots.push((sequence as usize, tracks.then_some(cpu as usize)));
                records.ring.push(encode(&Snapshot { cpu: CpuId(cpu), ..snapshot }));
            }
        }
        records
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> &[u8] {
        let (sequence, track) = self.slots[self.at];
        let bytes = &mut self.ring[self.at];
        self.at = if self.at + 1 == self.slots.len() { 0 } else { self.at + 1 };
        self.ts += 1000;
        bytes[TS..][..8].copy_from_slice(&self.ts.to_le_bytes());
        bytes[SEQ..][..8].copy_from_slice(&self.sequences[sequence].to_le_bytes());
        self.sequences[sequence] += 1;
        if let Some(cpu) = track {
            self.tracks[cpu] = self.tracks[cpu].wrapping_add(1).max(1);
            bytes[TRACK..][..4].copy_from_slice(&self.tracks[cpu].to_le_bytes());
        }
        bytes
    }
}

const TS: usize = offset_of!(SnapshotRecord, ts_ns);
const SEQ: usize = offset_of!(SnapshotRecord, probe_seq);
const TRACK: usize = offset_of!(SnapshotRecord, track_seq);
