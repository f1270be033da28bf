//! A run of before as if it were live, at its own pace: a recording of `rcu-watch record`, or the NDJSON of
//! `rcu-watch -f json --stream all`.
//!
//! A recording goes through the whole pipeline again, into [`Paced`]. A type of a later build is passed over; what is no
//! line of a stream is an error.

use std::io::{self, BufRead, Read as _};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::{Envelope, Header, Heartbeat, Message, SnapshotReport};
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::{CpuId, Nanos};

use crate::sink::Sink;
use crate::top::picture::Picture;
use crate::top::sink::Shared;

/// The longest wait between two lines: a recording may have pauses that nobody wants to sit through.
const LONGEST: Duration = Duration::from_secs(2);

/// Counts what a recording has of each second, for the rates between its heartbeats.
#[derive(Debug, Default)]
pub struct Counter {
    beat: Heartbeat,
    start: Nanos,
    /// When the last status was, in nanoseconds of the recording.
    told_ns: u64,
}

impl Counter {
    fn count(&mut self, point: Point) {
        match point {
            Point::Checkpoint => self.beat.checkpoints += 1,
            Point::PatchedFunction | Point::FtraceFunction => self.beat.handler_calls += 1,
            Point::EqsEnter => self.beat.idle_entries += 1,
            Point::NmiEnter => self.beat.nmis += 1,
            _ => {}
        }
    }

    /// The status that is due, more than a second after the last.
    fn tick(&mut self, ts: Nanos) -> Option<&Heartbeat> {
        let elapsed_ns = ts.0.saturating_sub(self.start.0);
        if elapsed_ns <= self.told_ns + 1_000_000_000 {
            return None;
        }
        self.told_ns = elapsed_ns;
        self.beat.elapsed_ns = Nanos(elapsed_ns);
        Some(&self.beat)
    }

    /// The recording's own status: it also counts what was not recorded.
    fn heartbeat(&mut self, told: &Heartbeat) -> &Heartbeat {
        let counted = &self.beat;
        self.beat = Heartbeat {
            checkpoints: told.checkpoints.max(counted.checkpoints),
            handler_calls: told.handler_calls.max(counted.handler_calls),
            idle_entries: told.idle_entries.max(counted.idle_entries),
            nmis: told.nmis.max(counted.nmis),
            findings: told.findings.max(counted.findings),
            lost: told.lost.max(counted.lost),
            missed: told.missed.max(counted.missed),
            hits: told.hits.max(counted.hits),
            record_bytes: told.record_bytes.max(counted.record_bytes),
            ..told.clone()
        };
        self.told_ns = told.elapsed_ns.0;
        &self.beat
    }
}

/// Bytes of a line at most: the summary of a large machine has some ten million.
const LINE: u64 = 64 << 20;

/// Plays `input` into the picture; ends early when the viewer quits.
///
/// # Errors
/// Where it cannot be read, or is no stream.
pub fn play(mut input: impl BufRead, shared: &Shared) -> io::Result<()> {
    let no_stream = |number: u64| {
        let error = format!("line {number} is no line of a stream; give what `rcu-watch -f json` wrote");
        io::Error::new(io::ErrorKind::InvalidData, error)
    };
    let mut last = None;
    let mut counter = Counter::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut input).take(LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        let is_whole = line.ends_with(b"\n");
        // A name that is no UTF-8 has been replaced, not cut.
        let envelope = match Envelope::read(&String::from_utf8_lossy(&line)) {
            Ok(Some(envelope)) => envelope,
            Ok(None) => continue,
            // The run was killed in the middle of it.
            Err(_) if !is_whole && number > 1 && read < LINE as usize => break,
            Err(_) => return Err(no_stream(number)),
        };
        let envelope = envelope.shown()?;
        let ts = envelope.ts_ns;
        if let Some(last) = last {
            wait(Duration::from_nanos(ts.0.saturating_sub(last)).min(LONGEST), shared);
        }
        last = Some(ts.0);
        if shared.quit.load(Ordering::Relaxed) {
            return Ok(());
        }
        shared.with(|picture| take(picture, &mut counter, &envelope));
    }
    shared.with(|picture| {
        picture.ended.get_or_insert_with(|| "cut short".to_owned());
    });
    Ok(())
}

/// The sink of a recording that is played again: holds each message and record back until its time has come.
pub struct Paced {
    shared: Shared,
    last: Nanos,
    counter: Counter,
}

impl Paced {
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared, last: Nanos(0), counter: Counter::default() }
    }

    /// Waits for `ts`; an error once the viewer has quit.
    fn until(&mut self, ts: Nanos) -> io::Result<()> {
        let last = self.last;
        self.last = last.max(ts);
        if last.0 > 0 {
            wait(Duration::from_nanos(ts.0.saturating_sub(last.0)).min(LONGEST), &self.shared);
        }
        if self.shared.quit.load(Ordering::Relaxed) {
            return Err(io::Error::other("the viewer has quit"));
        }
        if let Some(beat) = self.counter.tick(ts) {
            self.shared.with(|picture| picture.status(ts, beat));
        }
        Ok(())
    }
}

impl Sink for Paced {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        match &envelope.message {
            Message::Header(_) => self.counter = Counter { start: envelope.ts_ns, ..Counter::default() },
            Message::Finding(_) => self.counter.beat.findings += 1,
            // Each was counted when its time had come.
            Message::Repeat(_) => return self.until(envelope.ts_ns),
            Message::Lost(lost) => self.counter.beat.lost += lost.count,
            Message::Missed(missed) => self.counter.beat.missed += missed.count,
            _ => {}
        }
        self.until(envelope.ts_ns)?;
        self.shared.with(|picture| picture.message(envelope));
        Ok(())
    }

    fn again(&mut self, rule: RuleId, seen: &Seen<'_>) -> io::Result<()> {
        self.counter.beat.findings += 1;
        self.shared.with(|picture| picture.again(rule, seen));
        Ok(())
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.until(seen.ts)?;
        self.counter.count(seen.point);
        self.shared.with(|picture| picture.observe(seen));
        Ok(())
    }
}

fn wait(mut time: Duration, shared: &Shared) {
    while !time.is_zero() && !shared.quit.load(Ordering::Relaxed) {
        let step = time.min(Duration::from_millis(100));
        thread::sleep(step);
        time -= step;
    }
}

/// Takes one line into the picture.
pub fn take(picture: &mut Picture, counter: &mut Counter, envelope: &Envelope) {
    let ts = envelope.ts_ns;
    if let Some(beat) = counter.tick(ts) {
        picture.status(ts, beat);
    }
    match &envelope.message {
        Message::Header(header) => {
            *counter = Counter { start: ts, ..Counter::default() };
            let replayed = Header { command: "replay".to_owned(), ..Header::clone(header) };
            return picture.message(&Envelope { message: Message::Header(Box::new(replayed)), ..*envelope });
        }
        Message::Snapshot(snapshot) => {
            counter.count(snapshot.point);
            if let Some(cpu) = envelope.cpu {
                picture.observe(&seen(ts, cpu, snapshot));
            }
        }
        Message::Finding(_) => counter.beat.findings += 1,
        Message::Repeat(repeat) => counter.beat.findings += repeat.count,
        Message::Lost(lost) => counter.beat.lost += lost.count,
        Message::Missed(missed) => counter.beat.missed += missed.count,
        Message::Heartbeat(told) => picture.status(ts, counter.heartbeat(told)),
        _ => {}
    }
    picture.message(envelope);
}

fn seen(ts: Nanos, cpu: CpuId, snapshot: &SnapshotReport) -> Seen<'_> {
    Seen {
        ts,
        cpu,
        point: snapshot.point,
        symbol: &snapshot.symbol,
        watching: snapshot.state.underlying_watching,
        hardirq: snapshot.state.hardirq,
        nmi: snapshot.state.nmi,
        pid: snapshot.task.pid,
        arg: snapshot.arg.0,
    }
}
