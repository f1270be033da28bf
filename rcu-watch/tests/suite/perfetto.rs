//! A trace as Perfetto's public schema reads it: the numbers below are those of the schema, written out here
//! a second time and walked by hand, so that a wrong number in our own messages cannot hide.

use std::collections::BTreeMap;
use std::process::Command;

use rcu_watch::sink::Stream;
use rcu_watch::sink::perfetto::Perfetto;
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::Baseline;
use rcu_watch_core::stream::{Audience as _, Seen};
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::verdict::Exit;

use crate::paper::Paper;
use crate::sample;

/// A field of a message: its number, and its value or bytes.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64, u64),
    Bytes(u64, Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        fields.push(match key & 7 {
            0 => Field::Number(key >> 3, value),
            2 => {
                let (inside, rest) = bytes.split_at(usize::try_from(value).expect("it fits"));
                bytes = rest;
                Field::Bytes(key >> 3, inside.to_vec())
            }
            other => panic!("wire type {other}"),
        });
    }
    fields
}

fn number(fields: &[Field], wanted: u64) -> Option<u64> {
    fields.iter().find_map(|field| match field {
        Field::Number(number, value) if *number == wanted => Some(*value),
        _ => None,
    })
}

fn all(fields: &[Field], wanted: u64) -> Vec<Vec<u8>> {
    let bytes = |field: &Field| match field {
        Field::Bytes(number, bytes) if *number == wanted => Some(bytes.clone()),
        _ => None,
    };
    fields.iter().filter_map(bytes).collect()
}

fn text(fields: &[Field], wanted: u64) -> Option<String> {
    all(fields, wanted).pop().map(|bytes| String::from_utf8(bytes).expect("a string is UTF-8"))
}

/// Fields of schema messages that the test looks at.
mod schema {
    pub(crate) const TRACE_PACKET: u64 = 1;
    pub(crate) const PACKET_CLOCK_SNAPSHOT: u64 = 6;
    pub(crate) const PACKET_TIMESTAMP: u64 = 8;
    pub(crate) const PACKET_TRACK_EVENT: u64 = 11;
    pub(crate) const PACKET_TRACK_DESCRIPTOR: u64 = 60;
    pub(crate) const DESCRIPTOR_UUID: u64 = 1;
    pub(crate) const DESCRIPTOR_NAME: u64 = 2;
    pub(crate) const EVENT_DEBUG_ANNOTATIONS: u64 = 4;
    pub(crate) const EVENT_TYPE: u64 = 9;
    pub(crate) const EVENT_TRACK_UUID: u64 = 11;
    pub(crate) const EVENT_NAME: u64 = 23;
    pub(crate) const ANNOTATION_STRING_VALUE: u64 = 6;
    pub(crate) const ANNOTATION_NAME: u64 = 10;
    pub(crate) const TYPE_SLICE_BEGIN: u64 = 1;
    pub(crate) const TYPE_SLICE_END: u64 = 2;
    pub(crate) const TYPE_INSTANT: u64 = 3;
}

fn trace() -> Vec<Vec<Field>> {
    let paper = Paper::default();
    let mut stream = Stream::new(Box::new(Perfetto::new(paper.clone())), Baseline::default());
    let mut said = sample::broken_run().into_iter();
    let (ts, cpu, header) = said.next().expect("the header");
    stream.send(Nanos(ts), cpu.map(CpuId), header).expect("paper is patient");
    for (ns, point) in [(1, Point::EqsEnter), (2, Point::IrqEnter), (3, Point::IrqExit), (4, Point::EqsExit)]
    {
        let seen = Seen {
            ts: Nanos(ts + ns),
            cpu: CpuId(1),
            point,
            symbol: "cpu_idle",
            watching: true,
            hardirq: false,
            nmi: false,
            pid: 0,
            arg: 2,
        };
        stream.observe(&seen).expect("paper is patient");
    }
    for (ts, cpu, message) in said {
        stream.send(Nanos(ts), cpu.map(CpuId), message).expect("paper is patient");
    }
    stream.finish(Exit::Clean).expect("paper is patient");
    let bytes = paper.0.borrow().clone();
    if let Some(file) = std::env::var_os("RCU_WATCH_KEEP_TRACE") {
        std::fs::write(file, &bytes).expect("it can be kept");
    }
    packets(&bytes)
}

fn packets(trace: &[u8]) -> Vec<Vec<Field>> {
    all(&fields(trace), schema::TRACE_PACKET).iter().map(|packet| fields(packet)).collect()
}

#[test]
fn each_cpu_has_a_track_and_the_clock_comes_first() {
    let trace = trace();
    assert_eq!(all(&trace[0], schema::PACKET_CLOCK_SNAPSHOT).len(), 1);
    let names: Vec<_> = trace
        .iter()
        .flat_map(|packet| all(packet, schema::PACKET_TRACK_DESCRIPTOR))
        .filter_map(|track| text(&fields(&track), schema::DESCRIPTOR_NAME))
        .collect();
    assert_eq!(names, ["rcu-watch 0.1.0 on 6.1.0-56-amd64", "CPU 0", "CPU 1"]);
}

#[test]
fn idle_and_irq_are_nested_slices_and_a_break_is_an_instant_with_arguments() {
    let trace = trace();
    let tracks = trace.iter().flat_map(|packet| all(packet, schema::PACKET_TRACK_DESCRIPTOR));
    let cpu1 = tracks
        .map(|track| fields(&track))
        .find(|track| text(track, schema::DESCRIPTOR_NAME).as_deref() == Some("CPU 1"))
        .and_then(|track| number(&track, schema::DESCRIPTOR_UUID));
    let events: Vec<_> = trace
        .iter()
        .filter(|packet| number(packet, schema::PACKET_TIMESTAMP).is_some())
        .flat_map(|packet| all(packet, schema::PACKET_TRACK_EVENT))
        .map(|event| fields(&event))
        .filter(|event| number(event, schema::EVENT_TRACK_UUID) == cpu1)
        .collect();
    let told: Vec<_> = events
        .iter()
        .map(|event| (number(event, schema::EVENT_TYPE), text(event, schema::EVENT_NAME)))
        .collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        told,
        [
            (Some(schema::TYPE_SLICE_BEGIN), name("EQS C2")),
            (Some(schema::TYPE_SLICE_BEGIN), name("irq")),
            (Some(schema::TYPE_SLICE_END), None),
            (Some(schema::TYPE_SLICE_END), None),
            (Some(schema::TYPE_INSTANT), name("RW001 handler-unwatched arch_cpu_idle")),
        ]
    );
    let notes: Vec<_> = all(&events[4], schema::EVENT_DEBUG_ANNOTATIONS)
        .iter()
        .map(|note| fields(note))
        .map(|note| (text(&note, schema::ANNOTATION_NAME), text(&note, schema::ANNOTATION_STRING_VALUE)))
        .collect();
    assert!(notes.contains(&(name("handlers"), name("lp_idle"))), "{notes:?}");
    assert!(notes.contains(&(name("N"), name("0x0"))), "{notes:?}");
}

/// Slices, those that were still open at the end, and the names of the instants.
fn drawn(kernel: &str) -> (usize, u64, Vec<String>) {
    let recording = format!("{}/tests/corpus/{kernel}.rec", env!("CARGO_MANIFEST_DIR"));
    let trace = format!("{}/{kernel}.pftrace", env!("CARGO_TARGET_TMPDIR"));
    let replayed = Command::new(env!("CARGO_BIN_EXE_rcu-watch"))
        .args(["replay", &recording, "--perfetto", &trace])
        .output()
        .expect("the binary runs");
    // Each holds a self-test's finding.
    assert_eq!(replayed.status.code(), Some(2), "{}", String::from_utf8_lossy(&replayed.stderr));
    let packets = packets(&std::fs::read(trace).expect("it was written"));
    let mut open: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut slices, mut instants) = (0, Vec::new());
    for event in packets.iter().flat_map(|packet| all(packet, schema::PACKET_TRACK_EVENT)) {
        let event = fields(&event);
        let track = number(&event, schema::EVENT_TRACK_UUID).expect("every event is on a track");
        let depth = open.entry(track).or_default();
        match number(&event, schema::EVENT_TYPE) {
            Some(schema::TYPE_SLICE_BEGIN) => (*depth, slices) = (*depth + 1, slices + 1),
            Some(schema::TYPE_SLICE_END) => *depth = depth.checked_sub(1).expect("what ends has begun"),
            _ => instants.extend(text(&event, schema::EVENT_NAME)),
        }
    }
    (slices, open.values().sum(), instants)
}

#[test]
fn replay_draws_the_recording_of_a_stock_kernel() {
    let (slices, open, instants) = drawn("sid");
    assert!(slices > 100, "{slices} slices");
    assert!(open <= 2, "{open} slices of two CPUs are open at the end");
    assert_eq!(instants, ["RW001 handler-unwatched rcuw_self_test"]);
}

#[test]
fn every_break_is_an_instant_also_those_that_the_stream_folds() {
    let (_, _, instants) = drawn("6.1");
    let breaks = instants.iter().filter(|name| *name == "RW001 handler-unwatched arch_cpu_idle").count();
    assert_eq!(breaks, 124);
}
