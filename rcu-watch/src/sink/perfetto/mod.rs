//! A trace for ui.perfetto.dev: a track a CPU with its idle, irq and NMI slices, breaks and losses as instants.
//!
//! Written packet by packet, so that a run that is killed leaves a trace that opens. The hard thing is that
//! slices nest by order while probes are lost and some kernels do not show every end: an end closes what was
//! opened above it, and an end of what was never opened is dropped.

mod cpu;
mod proto;

use std::collections::HashMap;
use std::io::{self, Write};

use rcu_watch_core::RuleId;
use rcu_watch_core::report::{Envelope, FindingReport, Header, Message};
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::{CpuId, Nanos};

use crate::sink::Sink;

use cpu::{Cpu, Step};
use proto::{Clock, ClockSnapshot, DebugAnnotation, TracePacket, TrackDescriptor, TrackEvent, clock, event};

/// The id of the packets' writer; all have the same.
const SEQUENCE: u32 = 1;
/// SEQ_INCREMENTAL_STATE_CLEARED
const FIRST: u32 = 1;
/// Id of the track that the CPUs' tracks are below.
const ROOT: u64 = 1;

pub struct Perfetto<W> {
    out: W,
    cpus: HashMap<CpuId, Cpu>,
    packet: Vec<u8>,
    last: Nanos,
}

impl<W: Write> Perfetto<W> {
    pub fn new(out: W) -> Self {
        Self { out, cpus: HashMap::new(), packet: Vec::new(), last: Nanos(0) }
    }

    fn write(&mut self, packet: TracePacket) -> io::Result<()> {
        let packet = TracePacket { trusted_packet_sequence_id: Some(SEQUENCE), ..packet };
        self.packet.clear();
        prost::encoding::message::encode(proto::PACKET, &packet, &mut self.packet);
        self.out.write_all(&self.packet)
    }

    fn event(&mut self, ts: Nanos, event: TrackEvent) -> io::Result<()> {
        self.last = self.last.max(ts);
        self.write(TracePacket {
            timestamp: Some(ts.0),
            timestamp_clock_id: Some(clock::BOOTTIME),
            track_event: Some(event),
            ..TracePacket::default()
        })
    }

    fn header(&mut self, ts: Nanos, header: &Header) -> io::Result<()> {
        let offset = u64::try_from(header.clock.realtime_offset_ns.0).unwrap_or(0);
        let at = |clock_id, timestamp| Clock { clock_id: Some(clock_id), timestamp: Some(timestamp) };
        // Perfetto counts in boot time; we count without time asleep, and say here that they are one.
        let clocks = vec![
            at(clock::REALTIME, ts.0.saturating_add(offset)),
            at(clock::MONOTONIC, ts.0),
            at(clock::BOOTTIME, ts.0),
        ];
        self.write(TracePacket {
            sequence_flags: Some(FIRST),
            clock_snapshot: Some(ClockSnapshot { clocks }),
            ..TracePacket::default()
        })?;
        let name = format!("{} {} on {}", header.tool, header.version, header.kernel.release);
        let root = TrackDescriptor {
            uuid: Some(ROOT),
            name: Some(name),
            child_ordering: Some(proto::EXPLICIT),
            ..TrackDescriptor::default()
        };
        self.write(TracePacket { track_descriptor: Some(root), ..TracePacket::default() })?;
        header.cpus.iter().try_for_each(|&cpu| self.describe(cpu))
    }

    /// Makes the CPU's track known before its first event.
    fn describe(&mut self, cpu: CpuId) -> io::Result<()> {
        if self.cpus.contains_key(&cpu) {
            return Ok(());
        }
        self.cpus.insert(cpu, Cpu::default());
        let track = TrackDescriptor {
            uuid: Some(track(cpu)),
            name: Some(format!("CPU {cpu}")),
            parent_uuid: Some(ROOT),
            sibling_order_rank: i32::try_from(cpu.0).ok(),
            ..TrackDescriptor::default()
        };
        self.write(TracePacket { track_descriptor: Some(track), ..TracePacket::default() })
    }

    fn instant(
        &mut self,
        ts: Nanos,
        cpu: Option<CpuId>,
        name: String,
        annotations: Vec<DebugAnnotation>,
    ) -> io::Result<()> {
        if let Some(cpu) = cpu {
            self.describe(cpu)?;
        }
        self.event(
            ts,
            TrackEvent {
                r#type: Some(event::INSTANT),
                track_uuid: Some(cpu.map_or(ROOT, track)),
                categories: vec!["rcu-watch".to_owned()],
                name: Some(name),
                debug_annotations: annotations,
            },
        )
    }

    fn finding(&mut self, ts: Nanos, cpu: Option<CpuId>, finding: &FindingReport) -> io::Result<()> {
        let note = |name: &str, value: String| DebugAnnotation {
            name: Some(name.to_owned()),
            string_value: Some(value),
        };
        let handlers: Vec<_> = finding.handlers.iter().map(|handler| handler.name.as_str()).collect();
        let mut notes = vec![
            note("severity", finding.severity.to_string()),
            note("because", finding.because.clone()),
            note("handlers", handlers.join(", ")),
        ];
        if let Some(state) = &finding.state {
            notes.push(note("S", state.state.to_string()));
            notes.push(note("N", state.nesting.to_string()));
            notes.push(note("M", state.nmi_nesting.raw.to_string()));
            notes.push(note("P", state.preempt_count.to_string()));
        }
        let stack: Vec<_> =
            finding.stack.iter().map(rcu_watch_core::report::finding::StackFrame::label).collect();
        if !stack.is_empty() {
            notes.push(note("stack", stack.join("\n")));
        }
        self.instant(ts, cpu, format!("{} {} {}", finding.rule, finding.name, finding.function), notes)
    }
}

/// Id of a CPU's track. 0 means no track, 1 is [`ROOT`].
fn track(cpu: CpuId) -> u64 {
    u64::from(cpu.0) + 2
}

impl<W: Write> Sink for Perfetto<W> {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        let (ts, cpu) = (envelope.ts_ns, envelope.cpu);
        match &envelope.message {
            Message::Header(header) => self.header(ts, header),
            Message::Finding(finding) => self.finding(ts, cpu, finding),
            Message::Lost(lost) => {
                self.instant(ts, cpu, format!("LOST {} of {}", lost.count, lost.symbol), Vec::new())
            }
            Message::Missed(missed) => {
                self.instant(ts, cpu, format!("MISSED {} of {}", missed.count, missed.symbol), Vec::new())
            }
            _ => Ok(()),
        }
    }

    fn again(&mut self, rule: RuleId, seen: &Seen<'_>) -> io::Result<()> {
        let note = DebugAnnotation {
            name: Some("again".to_owned()),
            string_value: Some("the first of this name has the state and the stack".to_owned()),
        };
        self.instant(seen.ts, Some(seen.cpu), format!("{rule} {} {}", rule.name(), seen.symbol), vec![note])
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.describe(seen.cpu)?;
        let steps = self.cpus.get_mut(&seen.cpu).map(|cpu| cpu.steps(seen)).unwrap_or_default();
        for step in steps {
            let (kind, name) = match step {
                Step::Begin(slice) => (event::SLICE_BEGIN, Some(slice.name(seen.arg))),
                Step::End => (event::SLICE_END, None),
                Step::Instant(name) => (event::INSTANT, Some(name.to_owned())),
            };
            self.event(
                seen.ts,
                TrackEvent {
                    r#type: Some(kind),
                    track_uuid: Some(track(seen.cpu)),
                    categories: Vec::new(),
                    name,
                    debug_annotations: Vec::new(),
                },
            )?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
