//! A recorded stream as if it were live: the NDJSON of `rcu-watch -f json --stream all`, at its own pace.
//!
//! Reads lines as data of unknown origin: what a line does not have is not drawn, and nothing is refused.

use std::io::{self, BufRead};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::core::finding::{RuleId, Severity};
use crate::core::probe::Point;
use crate::core::units::{CpuId, Nanos};
use crate::report::Heartbeat;
use crate::report::header::BlindSpot;
use crate::sink::Seen;
use crate::top::picture::{Kind, Picture};
use crate::top::sink::Shared;
use crate::top::strip::Strip;

/// The longest wait between two lines: a recording may have pauses that nobody wants to sit through.
const LONGEST: Duration = Duration::from_secs(2);

/// Plays `input` into the picture; ends early when the viewer quits.
pub fn play(input: impl BufRead, shared: &Shared) -> io::Result<()> {
    let mut last = None;
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
        shared.with(|picture| take(picture, ts, &line));
    }
    shared.with(|picture| picture.ended.get_or_insert_with(|| "cut short".to_owned()).truncate(40));
    Ok(())
}

fn wait(mut time: Duration, shared: &Shared) {
    while !time.is_zero() && !shared.quit.load(Ordering::Relaxed) {
        let step = time.min(Duration::from_millis(100));
        thread::sleep(step);
        time -= step;
    }
}

/// Takes one line into the picture.
pub fn take(picture: &mut Picture, ts: Nanos, line: &Value) {
    picture.ts = picture.ts.max(ts);
    let cpu = line["cpu"].as_u64().and_then(|cpu| u32::try_from(cpu).ok()).map(CpuId);
    let data = &line["data"];
    match (text(&line["type"]), cpu) {
        ("header", _) => header(picture, ts, data),
        ("snapshot", Some(cpu)) => snapshot(picture, ts, cpu, data),
        ("finding", _) => finding(picture, ts, cpu, data),
        ("repeat", _) => {
            if let Some(kind) =
                picture.findings.iter_mut().find(|kind| Some(u64::from(kind.id)) == data["id"].as_u64())
            {
                kind.count += count(&data["count"]);
            }
        }
        ("lost", _) => {
            picture.note(format!("lost {} records of {}", count(&data["count"]), text(&data["symbol"])));
        }
        ("missed", _) => {
            picture.note(format!("missed {} runs of {}", count(&data["count"]), text(&data["symbol"])));
        }
        ("heartbeat", _) => picture.status(&Heartbeat {
            elapsed_ns: text(&data["elapsed_ns"]).to_owned(),
            checkpoints: count(&data["checkpoints"]),
            handler_calls: count(&data["handler_calls"]),
            idle_entries: count(&data["idle_entries"]),
            nmis: count(&data["nmis"]),
            findings: count(&data["findings"]),
            lost: count(&data["lost"]),
            missed: count(&data["missed"]),
            user_cost_percent: data["user_cost_percent"].as_f64().unwrap_or(0.0),
            kernel_cost_percent: data["kernel_cost_percent"].as_f64(),
        }),
        ("summary", _) => picture.ended = Some(text(&data["ended_by"]).to_owned()),
        _ => {}
    }
}

fn header(picture: &mut Picture, ts: Nanos, data: &Value) {
    let release = text(&data["kernel"]["release"]);
    picture.start(ts, format!("{} {} on {release}, replayed", text(&data["tool"]), text(&data["version"])));
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

fn snapshot(picture: &mut Picture, ts: Nanos, cpu: CpuId, data: &Value) {
    let name = text(&data["point"]);
    let Some(&point) = Point::ALL.iter().find(|point| point.name() == name) else { return };
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
