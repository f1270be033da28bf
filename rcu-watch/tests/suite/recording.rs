//! A recording of a run, made and played again: the replay says what the run said.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use anyhow::Result;
use rcu_watch::recording::{Recorder, play};
use rcu_watch::sink::{Sink, Stream};
use rcu_watch_core::condition::{Condition, Looked};
use rcu_watch_core::decode::encode;
use rcu_watch_core::model::generation::{Generation, NON_IDLE};
use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
use rcu_watch_core::pipeline::{Finding, Listener, Pipeline};
use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::recording::Terms;
use rcu_watch_core::recording::part::{End, NumberedProbe, Start};
use rcu_watch_core::report::plan::Event;
use rcu_watch_core::report::{Baseline, Envelope, FindingReport, LivepatchReport, Message};
use rcu_watch_core::snapshot::{RcuState, Snapshot, Task};
use rcu_watch_core::units::{
    Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, RealtimeOffset, StateWord,
};
use rcu_watch_core::verdict::Exit;
use rcu_watch_core::{RuleId, Severity};

use crate::sample;

#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<serde_json::Value>>>);

impl Sink for Heard {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.0.borrow_mut().push(serde_json::to_value(envelope)?);
        Ok(())
    }
}

impl Heard {
    fn of_type(&self, kind: &str) -> Vec<serde_json::Value> {
        self.0.borrow().iter().filter(|line| line["type"] == kind).map(|line| line["data"].clone()).collect()
    }
}

/// The findings of a live run, and its recorder.
struct Live {
    findings: Vec<serde_json::Value>,
    recorder: Recorder,
}

impl Listener for Live {
    fn finding(&mut self, finding: &Finding<'_>) {
        let report = FindingReport::new(finding, |at: Address| (at.0 < 9).then(|| format!("f{}", at.0)));
        self.recorder.names(&report.stack);
        self.findings.push(serde_json::to_value(report).expect("a report is JSON"));
    }
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plan() -> Vec<NumberedProbe> {
    let probe = |point, mechanism, handlers| sample::probe("arch_cpu_idle", point, mechanism, handlers);
    vec![
        NumberedProbe { id: ProbeId(0), probe: probe(Point::Checkpoint, Mechanism::RawTracepoint, vec![]) },
        NumberedProbe {
            id: ProbeId(5),
            probe: probe(Point::PatchedFunction, Mechanism::Fentry, vec![sample::patch()]),
        },
    ]
}

fn loaded() -> LivepatchReport {
    LivepatchReport {
        patch: "fix".to_owned(),
        event: Event::Load,
        to_patched: true,
        functions: vec!["vmlinux:arch_cpu_idle".to_owned()],
        because: None,
        took_ns: None,
    }
}

/// Every combination of words that a rule looks at, some legal and most not.
fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let stack = [3_u64.to_le_bytes(), 77_u64.to_le_bytes()].concat();
    for (seq, state) in [0_u32, 1, 4, 5, 6].into_iter().cycle().take(400).enumerate() {
        let pick = |values: &[i64], by: usize| values[seq / by % values.len()];
        let snapshot = Snapshot {
            cpu: CpuId(seq as u32 % 3),
            probe: ProbeId(if seq % 2 == 0 { 0 } else { 5 }),
            probe_seq: (seq / 6) as u64,
            ts: Nanos(seq as u64 * 10),
            rcu: RcuState {
                state: StateWord(state),
                nesting: Counter(pick(&[0, 1, 3], 5)),
                nmi_nesting: Counter(pick(&[0, 1, 2, NON_IDLE, NON_IDLE + 2], 7)),
                preempt_count: PreemptCount(pick(&[0, 0x11_0000, 0x1_0000], 3).cast_unsigned()),
            },
            task: Task { pid: seq as u32 % 2, ..Task::default() },
            stack: if seq % 4 == 0 { &stack } else { &[] },
            ..Snapshot::default()
        };
        records.push(encode(&snapshot));
    }
    records.push(vec![1, 2, 3]);
    records
}

fn stalled() -> Condition {
    let (rule, severity) = (RuleId::TransitionStalled, Severity::Warning);
    Condition::new(rule, severity, "fix".to_owned(), "its transition does not end".to_owned())
}

fn recorded() -> (Vec<serde_json::Value>, Vec<u8>) {
    let file = Shared::default();
    let mut recorder = Recorder::new(Box::new(file.clone())).expect("it is only memory");
    let kernel = KernelModel::new(Generation::G4, PreemptLayout::FOUR_BYTES);
    let mut pipeline = Pipeline::new(kernel.clone(), Vec::new());
    for planned in plan() {
        pipeline.set_probe(planned.id, planned.probe);
    }
    let start = Start {
        ts_ns: Nanos(1),
        host: "host".to_owned(),
        boot_id: "boot".to_owned(),
        kernel: rcu_watch_core::report::header::Kernel {
            release: "6.1".to_owned(),
            machine: "x86_64".to_owned(),
        },
        realtime_offset_ns: RealtimeOffset(7),
        layout: None,
        cpus: vec![CpuId(0)],
        plan: Vec::new(),
        handlers: Vec::new(),
        other_instances: Vec::new(),
        blind_spots: Vec::new(),
        model: kernel,
        probes: plan(),
    };
    recorder.start(&start);
    let mut live = Live { findings: Vec::new(), recorder };
    for record in records() {
        pipeline.push(&record, &mut live);
        live.recorder.record(&record);
    }
    for count in [1, 4] {
        live.recorder.condition(Nanos(4000 + count), Condition { count, ..stalled() });
    }
    let end = End {
        ts_ns: Nanos(9999),
        elapsed_ns: Nanos(9998),
        books: Vec::new(),
        missed: 0,
        unmet: Vec::new(),
        looks: vec![(RuleId::TransitionStalled, Looked::Judged)],
    };
    live.recorder.said(Nanos(5000), None, &Message::Livepatch(loaded()));
    live.recorder.end(&end).expect("nothing failed to be written");
    let bytes = file.0.borrow().clone();
    (live.findings, bytes)
}

fn replay(bytes: &[u8]) -> (Result<Exit>, Heard) {
    let heard = Heard::default();
    let stream = Stream::new(Box::new(heard.clone()), Baseline::default());
    (play(bytes, stream, &Terms::default()), heard)
}

#[test]
fn the_replay_of_a_record_equals_the_live_run() {
    let (findings, bytes) = recorded();
    let (exit, heard) = replay(&bytes);
    assert_eq!(exit.unwrap(), Exit::Findings);
    let mut told = heard.of_type("finding");
    let looked = told.pop().expect("what a look found came last");
    assert_eq!(told, findings);
    assert!(findings.len() > 10);
    assert_eq!(
        (&looked["rule"], &looked["function"], &looked["source"]),
        (&"RW018".into(), &"fix".into(), &"lists".into())
    );
    assert_eq!(looked["id"], findings.len() + 1);
    assert_eq!(heard.of_type("header")[0]["command"], "replay");
    assert_eq!(heard.of_type("probe_error").len(), 1);
    assert_eq!(heard.of_type("livepatch"), [serde_json::to_value(loaded()).unwrap()]);
    let summary = &heard.of_type("summary")[0];
    assert_eq!(summary["ended_by"], "end_of_file");
    assert_eq!(summary["totals"]["undecodable"], 1);
    let total = |of: &str| {
        summary[of].as_array().unwrap().iter().find(|row| row["rule"] == "RW018").cloned().unwrap()
    };
    assert_eq!(total("findings")["count"], 5);
    assert_eq!(total("rules")["status"], "judged");
}

#[test]
fn a_recording_cut_anywhere_never_panics_and_says_so() {
    let (findings, bytes) = recorded();
    for len in (0..bytes.len()).step_by(997).chain(0..64) {
        let (exit, heard) = replay(&bytes[..len]);
        let mut told = heard.of_type("finding");
        told.retain(|finding| finding["rule"] != "RW018");
        assert_eq!(told, findings[..told.len()], "{len}");
        if exit.is_ok() {
            let summary = &heard.of_type("summary")[0];
            assert_ne!(summary["reasons"].as_array().unwrap().len(), 0, "{len}");
        } else {
            assert_eq!(heard.0.borrow().len(), 0, "{len}: an error only where nothing can be read");
        }
    }
}
