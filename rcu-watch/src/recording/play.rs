//! Plays a recording: the same bytes through the same pipeline, into the same stream.

use std::collections::BTreeMap;
use std::io::{self, Read};

use anyhow::{Context as _, Result};
use rcu_watch_common::slot;
use rcu_watch_core::Seen;
use rcu_watch_core::coverage::coverage;
use rcu_watch_core::decode::DecodeError;
use rcu_watch_core::finding::RuleId;
use rcu_watch_core::pipeline::{Finding, Listener, Pipeline};
use rcu_watch_core::recording::part::{End, Names, Planned, Said, Start};
use rcu_watch_core::recording::{Frame, Frames, Part, ReadError};
use rcu_watch_core::report::summary::{Book, EndedBy, Followed, Summary};
use rcu_watch_core::report::{FindingReport, Message, ProbeError, Repeat};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::units::Nanos;
use rcu_watch_core::verdict::{self, Exit, FailOn};
use serde::de::DeserializeOwned;

use super::FileSource;
use crate::session::listener::Filter;
use crate::sink::Stream;
use crate::sink::options::Format;

/// How a recording is to be judged and told.
#[derive(Clone, Debug)]
pub struct Terms {
    pub fail_on: FailOn,
    pub filter: Filter,
    pub format: Format,
}

/// Plays all that can be read of a recording.
///
/// # Errors
/// Where nothing of it can be read, or the stream cannot be written. A recording that is cut off or corrupt
/// further on is played up to there, and the run is inconclusive.
pub fn play(input: impl Read, stream: Stream, terms: &Terms) -> Result<Exit> {
    let mut frames = Frames::new(FileSource(input))?;
    let start: Start = match frames.next() {
        Some(Ok(Frame::Start(json))) => parse(&json)?,
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) => return Err(ReadError::Corrupt(12).into()),
        None => return Err(ReadError::Cut(12).into()),
    };
    let mut pipeline = Pipeline::new(start.model.clone(), Vec::new());
    for planned in &start.probes {
        pipeline.set_probe(planned.id, planned.probe.clone());
    }
    let mut player =
        Player { stream, names: BTreeMap::new(), filter: &terms.filter, now: start.ts_ns, error: None };
    player.send(start.ts_ns, None, Message::Header(Box::new(start.header())));
    let mut end = None;
    let mut broken = None;
    while let Some(part) = frames.next_part() {
        match part {
            Ok(Part::Record(bytes)) => pipeline.push(bytes, &mut player),
            Ok(Part::Other(Frame::End(json))) => end = Some(parse::<End>(&json)?),
            Ok(Part::Other(frame)) => player.frame(frame, &mut pipeline)?,
            Err(error) => broken = Some(error),
        }
        if let Some(error) = player.error.take() {
            return Err(error).context("cannot write what the recording says");
        }
    }
    finish(pipeline, player, end, broken.as_ref(), terms)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .context("the recording holds JSON of another shape; use the rcu-watch that wrote it")
}

/// Tells what the pipeline says.
struct Player<'a> {
    stream: Stream,
    names: BTreeMap<u64, String>,
    filter: &'a Filter,
    now: Nanos,
    error: Option<io::Error>,
}

impl Player<'_> {
    fn send(&mut self, ts: Nanos, cpu: Option<rcu_watch_core::units::CpuId>, message: Message) {
        self.now = self.now.max(ts);
        if self.error.is_none() {
            self.error = self.stream.send(ts, cpu, message).err();
        }
    }

    fn frame(&mut self, frame: Frame, pipeline: &mut Pipeline) -> Result<()> {
        match frame {
            Frame::Names(json) => self.names = parse::<Names>(&json)?.0,
            Frame::Planned(json) => {
                let Planned { id, probe } = parse(&json)?;
                if pipeline.probe(id).is_some_and(|known| known.symbol == probe.symbol) {
                    pipeline.set_handlers(id, probe.handlers);
                } else {
                    pipeline.set_probe(id, probe);
                }
            }
            Frame::Said(json) => {
                let Said { ts_ns, cpu, what } = parse(&json)?;
                self.send(ts_ns, cpu, what.message());
            }
            Frame::Start(_) | Frame::Record(_) | Frame::End(_) => {}
        }
        Ok(())
    }
}

impl Listener for Player<'_> {
    fn finding(&mut self, finding: &Finding<'_>) {
        if !self.filter.tells(finding.verdict.rule) {
            return;
        }
        let report = FindingReport::new(finding, |address| self.names.get(&address.0).cloned());
        let snapshot = finding.hit.snapshot;
        self.send(snapshot.ts, Some(snapshot.cpu), Message::Finding(Box::new(report)));
    }

    fn again(&mut self, rule: RuleId, hit: &Hit<'_>) {
        if self.filter.tells(rule) && self.error.is_none() {
            self.error = self.stream.again(rule, &Seen::new(hit)).err();
        }
    }

    fn hit(&mut self, hit: &Hit<'_>, cpu_seq: u64) {
        if self.filter.snapshots {
            self.now = self.now.max(hit.snapshot.ts);
            if self.error.is_none() {
                self.error = self.stream.snapshot(hit, cpu_seq).err();
            }
        }
        // What a write of S meant hangs on who wrote it, and the addresses of that kernel's text are not recorded.
        if self.error.is_none() && hit.snapshot.probe.0 != slot::WATCH_STATE {
            self.error = self.stream.observe(&Seen::new(hit)).err();
        }
    }

    fn undecodable(&mut self, error: &DecodeError) {
        let message = ProbeError { probe: None, symbol: "EVENTS".to_owned(), error: error.to_string() };
        self.send(self.now, None, Message::ProbeError(message));
    }
}

fn finish(
    mut pipeline: Pipeline,
    mut player: Player<'_>,
    end: Option<End>,
    broken: Option<&ReadError>,
    terms: &Terms,
) -> Result<Exit> {
    for repeats in pipeline.take_repeats() {
        if terms.filter.tells(repeats.verdict.rule) {
            let symbol = pipeline.probe(repeats.probe).map(|probe| probe.symbol.clone());
            let repeat = Repeat::new(&repeats, symbol.unwrap_or_default());
            player.send(player.now, None, Message::Repeat(repeat));
        }
    }
    let mut reasons: Vec<String> = broken.iter().map(ToString::to_string).collect();
    if end.is_none() && broken.is_none() {
        reasons.push("the recording has no end: it was cut off, or the run was killed".to_owned());
    }
    let end = end.unwrap_or(End {
        ts_ns: player.now,
        elapsed_ns: Nanos(0),
        books: Vec::new(),
        missed: 0,
        unmet: Vec::new(),
    });
    let books: Vec<Book> = end
        .books
        .into_iter()
        .map(|book| Book { delivered: pipeline.delivered(book.cpu, book.probe), ..book })
        .collect();
    for book in &books {
        pipeline.count_at_rest(book.probe, book.at_rest);
    }
    let totals = verdict::totals(&books, end.missed, pipeline.undecodable());
    reasons.extend(end.unmet);
    if totals.lost > 0 {
        reasons.push(format!("{} records were lost when this was recorded", totals.lost));
    }
    if totals.missed > 0 {
        reasons.push(format!("{} runs were skipped by the kernel's recursion guard", totals.missed));
    }
    if totals.undecodable > 0 {
        reasons.push(format!("{} records could not be decoded", totals.undecodable));
    }
    if books.iter().any(|book| book.emitted != book.delivered + book.lost) {
        reasons.push("the recording does not hold every record that its books count".to_owned());
    }
    let verdict = verdict::judge(player.stream.worst(), terms.fail_on, !reasons.is_empty());
    let exit = Exit::of_run(verdict, false).among(terms.format.codes());
    let summary = Summary {
        reasons,
        elapsed_ns: end.elapsed_ns,
        totals,
        findings: verdict::findings(&pipeline, 0, |rule| terms.filter.tells(rule)),
        rules: coverage(&pipeline),
        guards: verdict::guards(&pipeline),
        books,
        followed: Followed::of(pipeline.tracks()),
        ..Summary::new(verdict, exit.code(), EndedBy::EndOfFile)
    };
    player.send(end.ts_ns, None, Message::Summary(Box::new(summary)));
    player.error.map_or(Ok(()), Err)?;
    player.stream.finish()?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::rc::Rc;

    use super::*;
    use crate::recording::writer::Recorder;
    use crate::sink::Sink;
    use rcu_watch_core::decode::encode;
    use rcu_watch_core::model::generation::{Generation, NON_IDLE};
    use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
    use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Point, Probe, Reliance};
    use rcu_watch_core::report::plan::Event;
    use rcu_watch_core::report::{Baseline, Envelope, LivepatchReport};
    use rcu_watch_core::snapshot::{RcuState, Snapshot, Task};
    use rcu_watch_core::units::{Address, Counter, CpuId, PreemptCount, ProbeId, RealtimeOffset, StateWord};

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
            self.0
                .borrow()
                .iter()
                .filter(|line| line["type"] == kind)
                .map(|line| line["data"].clone())
                .collect()
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
            self.findings.push(serde_json::to_value(report).unwrap());
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

    fn plan() -> Vec<Planned> {
        let probe = |point, mechanism, handlers| Probe {
            point,
            mechanism,
            symbol: "arch_cpu_idle".to_owned(),
            handlers,
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        let patch = Handler {
            kind: HandlerKind::Livepatch,
            name: "fix".to_owned(),
            program: None,
            reliance: Reliance::Relies,
            ours: false,
        };
        vec![
            Planned { id: ProbeId(0), probe: probe(Point::Checkpoint, Mechanism::RawTracepoint, vec![]) },
            Planned { id: ProbeId(5), probe: probe(Point::PatchedFunction, Mechanism::Fentry, vec![patch]) },
        ]
    }

    fn loaded() -> LivepatchReport {
        LivepatchReport {
            patch: "fix".to_owned(),
            event: Event::Load,
            to_patched: true,
            functions: vec!["vmlinux:arch_cpu_idle".to_owned()],
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

    fn recorded() -> (Vec<serde_json::Value>, Vec<u8>) {
        let file = Shared::default();
        let mut recorder = Recorder::new(Box::new(file.clone())).unwrap();
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
        let end = End {
            ts_ns: Nanos(9999),
            elapsed_ns: Nanos(9998),
            books: Vec::new(),
            missed: 0,
            unmet: Vec::new(),
        };
        live.recorder.said(Nanos(5000), None, &Message::Livepatch(loaded()));
        live.recorder.end(&end).unwrap();
        let bytes = file.0.borrow().clone();
        (live.findings, bytes)
    }

    fn replay(bytes: &[u8]) -> (Result<Exit>, Heard) {
        let heard = Heard::default();
        let stream = Stream::new(Box::new(heard.clone()), Baseline::default());
        let terms = Terms { fail_on: FailOn::Error, filter: Filter::default(), format: Format::Json };
        (play(bytes, stream, &terms), heard)
    }

    #[test]
    fn the_replay_of_a_record_equals_the_live_run() {
        let (findings, bytes) = recorded();
        let (exit, heard) = replay(&bytes);
        assert_eq!(exit.unwrap(), Exit::Findings);
        assert_eq!(heard.of_type("finding"), findings);
        assert!(findings.len() > 10);
        assert_eq!(heard.of_type("header")[0]["command"], "replay");
        assert_eq!(heard.of_type("probe_error").len(), 1);
        assert_eq!(heard.of_type("livepatch"), [serde_json::to_value(loaded()).unwrap()]);
        let summary = &heard.of_type("summary")[0];
        assert_eq!(summary["ended_by"], "end_of_file");
        assert_eq!(summary["totals"]["undecodable"], 1);
    }

    #[test]
    fn a_recording_cut_anywhere_never_panics_and_says_so() {
        let (findings, bytes) = recorded();
        for len in (0..bytes.len()).step_by(997).chain(0..64) {
            let (exit, heard) = replay(&bytes[..len]);
            let told = heard.of_type("finding");
            assert_eq!(told, findings[..told.len()], "{len}");
            if exit.is_ok() {
                let summary = &heard.of_type("summary")[0];
                assert_ne!(summary["reasons"].as_array().unwrap().len(), 0, "{len}");
            } else {
                assert_eq!(heard.0.borrow().len(), 0, "{len}: an error only where nothing can be read");
            }
        }
    }
}
