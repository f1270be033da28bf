//! A run of before as if it were live, at its own pace: a recording of `rcu-watch record`, or the NDJSON of
//! `rcu-watch -f json --stream all`.
//!
//! A recording goes through the whole pipeline again, into [`Paced`]. Lines are read as data of unknown
//! origin: what a line does not have is not drawn, and nothing is refused.

use std::io::{self, BufRead};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rcu_watch_core::Seen;
use rcu_watch_core::finding::{RuleId, Severity};
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::report::{Envelope, Heartbeat, Message};
use rcu_watch_core::units::{CpuId, Nanos};
use serde_json::Value;

use crate::sink::Sink;
use crate::top::picture::{Kind, Picture};
use crate::top::sink::Shared;
use crate::top::strip::Strip;

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
        self.beat.elapsed_ns = elapsed_ns.to_string();
        Some(&self.beat)
    }

    /// The recording's own status: it also counts what was not recorded.
    fn heartbeat(&mut self, data: &Value) -> &Heartbeat {
        let most = |member: &str, counted: u64| counted.max(count(&data[member]));
        self.beat = Heartbeat {
            elapsed_ns: text(&data["elapsed_ns"]).to_owned(),
            checkpoints: most("checkpoints", self.beat.checkpoints),
            handler_calls: most("handler_calls", self.beat.handler_calls),
            idle_entries: most("idle_entries", self.beat.idle_entries),
            nmis: most("nmis", self.beat.nmis),
            findings: most("findings", self.beat.findings),
            lost: most("lost", self.beat.lost),
            missed: most("missed", self.beat.missed),
            hits: most("hits", self.beat.hits),
            record_bytes: most("record_bytes", self.beat.record_bytes),
            user_cpu_seconds: data["user_cpu_seconds"].as_f64().unwrap_or(0.0),
            bpf_run_seconds: data["bpf_run_seconds"].as_f64(),
            user_cost_percent: data["user_cost_percent"].as_f64().unwrap_or(0.0),
            kernel_cost_percent: data["kernel_cost_percent"].as_f64(),
        };
        self.told_ns = self.beat.elapsed_ns.parse().unwrap_or(self.told_ns);
        &self.beat
    }
}

/// Plays `input` into the picture; ends early when the viewer quits.
pub fn play(input: impl BufRead, shared: &Shared) -> io::Result<()> {
    let mut last = None;
    let mut counter = Counter::default();
    for line in input.lines() {
        let Ok(line) = serde_json::from_str::<Value>(&line?) else { continue };
        let ts = nanos(&line["ts_ns"]);
        if let Some(last) = last {
            wait(Duration::from_nanos(ts.0.saturating_sub(last)).min(LONGEST), shared);
        }
        last = Some(ts.0);
        if shared.quit.load(Ordering::Relaxed) {
            return Ok(());
        }
        shared.with(|picture| take(picture, &mut counter, ts, &line));
    }
    shared.with(|picture| picture.ended.get_or_insert_with(|| "cut short".to_owned()).truncate(40));
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
            return Err(io::ErrorKind::BrokenPipe.into());
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
pub fn take(picture: &mut Picture, counter: &mut Counter, ts: Nanos, line: &Value) {
    let cpu = line["cpu"].as_u64().and_then(|cpu| u32::try_from(cpu).ok()).map(CpuId);
    let data = &line["data"];
    if let Some(beat) = counter.tick(ts) {
        picture.status(ts, beat);
    }
    match (text(&line["type"]), cpu) {
        ("header", _) => {
            *counter = Counter { start: ts, ..Counter::default() };
            header(picture, data);
        }
        ("snapshot", Some(cpu)) => {
            let name = text(&data["point"]);
            if let Some(&point) = Point::ALL.iter().find(|point| point.name() == name) {
                counter.count(point);
                snapshot(picture, ts, cpu, point, data);
            }
        }
        ("finding", _) => {
            counter.beat.findings += 1;
            finding(picture, ts, cpu, data);
        }
        ("repeat", _) => {
            counter.beat.findings += count(&data["count"]);
            if let Some(kind) =
                picture.findings.iter_mut().find(|kind| Some(u64::from(kind.id)) == data["id"].as_u64())
            {
                kind.count += count(&data["count"]);
            }
        }
        ("lost", _) => {
            counter.beat.lost += count(&data["count"]);
            picture.note(format!("lost {} records of {}", count(&data["count"]), text(&data["symbol"])));
        }
        ("missed", _) => {
            counter.beat.missed += count(&data["count"]);
            picture.note(format!("missed {} runs of {}", count(&data["count"]), text(&data["symbol"])));
        }
        ("heartbeat", _) => picture.status(ts, counter.heartbeat(data)),
        ("summary", _) => picture.ended = Some(text(&data["ended_by"]).to_owned()),
        _ => {}
    }
}

fn header(picture: &mut Picture, data: &Value) {
    let release = text(&data["kernel"]["release"]);
    picture.title = format!("{} {} on {release}, replayed", text(&data["tool"]), text(&data["version"]));
    let cpus = data["cpus"].as_array().into_iter().flatten();
    picture.cpus =
        cpus.filter_map(|cpu| Some((CpuId(u32::try_from(cpu.as_u64()?).ok()?), Strip::default()))).collect();
    let spots = data["blind_spots"].as_array().into_iter().flatten();
    picture.blind_spots = spots
        .map(|spot| BlindSpot {
            what: text(&spot["what"]).to_owned(),
            reason: text(&spot["reason"]).to_owned(),
            remedy: spot["remedy"].as_str().map(str::to_owned),
        })
        .collect();
}

fn snapshot(picture: &mut Picture, ts: Nanos, cpu: CpuId, point: Point, data: &Value) {
    let state = &data["state"];
    picture.observe(&Seen {
        ts,
        cpu,
        point,
        symbol: text(&data["symbol"]),
        watching: state["underlying_watching"].as_bool().unwrap_or(true),
        hardirq: state["hardirq"].as_bool().unwrap_or(false),
        nmi: state["nmi"].as_bool().unwrap_or(false),
        pid: u32::try_from(count(&data["task"]["pid"])).unwrap_or(0),
        arg: text(&data["arg"]).parse().unwrap_or(0),
    });
}

fn finding(picture: &mut Picture, ts: Nanos, cpu: Option<CpuId>, data: &Value) {
    let code = text(&data["rule"]);
    let Some(&rule) = RuleId::ALL.iter().find(|rule| rule.code() == code) else { return };
    let severity = match text(&data["severity"]) {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    if let Some(cpu) = cpu {
        picture.cpus.entry(cpu).or_default().break_seen(ts);
    }
    let handlers = data["handlers"].as_array().into_iter().flatten();
    let handlers: Vec<_> = handlers.map(|handler| text(&handler["name"])).collect();
    let guards = data["guards"].as_array().into_iter().flatten();
    picture.findings.push(Kind {
        id: u32::try_from(count(&data["id"])).unwrap_or(0),
        rule,
        severity,
        function: text(&data["function"]).to_owned(),
        handlers: handlers.join(", "),
        count: 1,
        last: ts,
        guards: guards
            .map(|guard| (text(&guard["guard"]).to_owned(), guard["protects"].as_bool().unwrap_or(false)))
            .collect(),
    });
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn nanos(value: &Value) -> Nanos {
    Nanos(text(value).parse().unwrap_or(0))
}
