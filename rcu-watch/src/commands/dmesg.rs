//! The kernel's own splats of this class, from a log, in the shape and with the exit codes of a run.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use rcu_watch_core::dmesg::{Parser, Splat};
use rcu_watch_core::finding::{RuleId, Verdict};
use rcu_watch_core::fold::fingerprint;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::finding::{FindingReport, Frame, TaskReport};
use rcu_watch_core::report::header::{Clock, Header, Kernel};
use rcu_watch_core::report::summary::{EndedBy, FindingTotal, RuleCoverage, RuleStatus, Summary};
use rcu_watch_core::report::{Message, Repeat, SCHEMA};
use rcu_watch_core::units::{Nanos, RealtimeOffset};
use rcu_watch_core::verdict::{Exit, Unsupported, judge};

use crate::cli::args::DmesgArgs;
use crate::sink;
use crate::sink::Stream;

pub fn run(args: &DmesgArgs) -> Result<Exit> {
    let mut log = open(args)?;
    let mut report = Report {
        stream: sink::stream(&args.into(), args.verdict.fail_on)?,
        kinds: Vec::new(),
        ids: HashMap::new(),
    };
    report.stream.send(Nanos(0), None, Message::Header(Box::new(header())))?;
    let mut parser = Parser::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line).context("cannot read the log")? == 0 {
            break;
        }
        for splat in parser.line(&String::from_utf8_lossy(&line)) {
            report.add(&splat)?;
        }
    }
    if let Some(splat) = parser.finish() {
        report.add(&splat)?;
    }
    let verdict = judge(report.stream.worst(), args.verdict.fail_on, false);
    let exit = Exit::of_run(verdict, false).among(sink::Options::from(args).format.codes());
    report.finish(|findings, rules| Summary {
        findings,
        rules,
        ..Summary::new(verdict, exit.code(), EndedBy::EndOfFile)
    })?;
    Ok(exit)
}

fn open(args: &DmesgArgs) -> Result<Box<dyn BufRead>> {
    match &args.file {
        Some(path) if path.as_os_str() == "-" => Ok(Box::new(io::stdin().lock())),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Ok(Box::new(BufReader::new(file)))
        }
        None => Ok(Box::new(io::Cursor::new(kernel_log()?))),
    }
}

/// What /dev/kmsg holds now, as dmesg would print it.
fn kernel_log() -> Result<Vec<u8>> {
    let no = |error: io::Error| {
        Unsupported(format!(
            "cannot read /dev/kmsg: {error}; run as root, or give a log: `rcu-watch dmesg FILE`"
        ))
    };
    let mut kmsg =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").map_err(no)?;
    let mut log = Vec::new();
    // Documentation/ABI/testing/dev-kmsg: each read gives one record; EPIPE says that some were overwritten.
    let mut record = [0; 8192];
    loop {
        match kmsg.read(&mut record) {
            Ok(0) => break,
            Ok(length) => log.extend(record_line(&record[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(no(error).into()),
        }
    }
    Ok(log)
}

/// `4,1234,42628511,-;text\n KEY=value\n` as `[42.628511] text\n`.
fn record_line(record: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let Some((prefix, rest)) = text.split_once(';') else { return Vec::new() };
    let micros: u64 = prefix.split(',').nth(2).and_then(|field| field.parse().ok()).unwrap_or(0);
    let line = rest.lines().next().unwrap_or("");
    format!("[{}.{:06}] {line}\n", micros / 1_000_000, micros % 1_000_000).into_bytes()
}

/// Says each kind of splat once, and counts the rest.
struct Report {
    stream: Stream,
    kinds: Vec<(FindingTotal, Nanos)>,
    ids: HashMap<String, usize>,
}

impl Report {
    fn add(&mut self, splat: &Splat) -> io::Result<()> {
        let ts = splat.ts.unwrap_or_default();
        let print = fingerprint_of(splat);
        if let Some(&index) = self.ids.get(&print) {
            let (total, last) = &mut self.kinds[index];
            total.count += 1;
            *last = ts;
            return Ok(());
        }
        let id = u32::try_from(self.kinds.len() + 1).unwrap_or(u32::MAX);
        self.ids.insert(print.clone(), self.kinds.len());
        self.kinds.push((
            FindingTotal {
                id,
                rule: splat.rule,
                severity: splat.severity,
                function: splat.function.clone(),
                handlers: splat.handlers.clone(),
                count: 1,
                fingerprint: print.clone(),
                synthetic: false,
                known: false,
            },
            ts,
        ));
        self.stream.send(ts, splat.cpu, Message::Finding(Box::new(finding(splat, id, print))))
    }

    fn finish(
        mut self,
        summary: impl FnOnce(Vec<FindingTotal>, Vec<RuleStatus>) -> Summary,
    ) -> io::Result<()> {
        let end = self.kinds.iter().map(|(_, last)| *last).max().unwrap_or_default();
        for (total, last) in &self.kinds {
            if total.count > 1 {
                let (rule, function) = (total.rule, total.function.clone());
                let repeat =
                    Repeat { id: total.id, rule, function, count: total.count - 1, last_ts_ns: *last };
                self.stream.send(*last, None, Message::Repeat(repeat))?;
            }
        }
        let findings: Vec<_> = self.kinds.into_iter().map(|(total, _)| total).collect();
        let rules = RuleId::ALL.iter().map(|&rule| status(rule, &findings)).collect();
        self.stream.send(end, None, Message::Summary(Box::new(summary(findings, rules))))?;
        self.stream.finish()
    }
}

fn status(rule: RuleId, findings: &[FindingTotal]) -> RuleStatus {
    let count = findings.iter().filter(|finding| finding.rule == rule).map(|finding| finding.count).sum();
    let (status, reason) = match count {
        0 if rule.row().in_logs => (RuleCoverage::NotExercised, Some("the log has no splat of it")),
        0 => (RuleCoverage::Blind, Some("a kernel log does not show it")),
        _ => (RuleCoverage::Judged, None),
    };
    RuleStatus { rule, name: rule.name().into(), status, reason: reason.map(str::to_owned), count }
}

fn fingerprint_of(splat: &Splat) -> String {
    let verdict = Verdict { rule: splat.rule, severity: splat.severity, because: "" };
    let probe = Probe {
        point: Point::FtraceFunction,
        mechanism: Mechanism::KprobeFtrace,
        symbol: splat.function.clone(),
        handlers: splat.handlers.clone(),
        is_rcu_internal: false,
        ftrace_validates_rcu: false,
    };
    fingerprint(&verdict, &probe)
}

fn finding(splat: &Splat, id: u32, fingerprint: String) -> FindingReport {
    let task = |task: &rcu_watch_core::dmesg::Task| TaskReport {
        pid: task.pid,
        tgid: task.pid,
        comm: task.comm.clone(),
        idle: task.pid == 0,
    };
    FindingReport {
        id,
        rule: splat.rule,
        name: splat.rule.name().into(),
        severity: splat.severity,
        because: splat.because.clone(),
        function: splat.function.clone(),
        point: None,
        mechanism: None,
        handlers: splat.handlers.clone(),
        state: None,
        guards: Vec::new(),
        task: splat.task.as_ref().map(task),
        stack: splat.stack.iter().map(|frame| Frame { address: None, symbol: Some(frame.clone()) }).collect(),
        cpu_seq: None,
        fingerprint,
        synthetic: false,
        known: false,
    }
}

/// A log does not say where it comes from; what it does not say is empty.
fn header() -> Header {
    Header {
        schema: SCHEMA,
        tool: "rcu-watch".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        command: "dmesg".to_owned(),
        host: String::new(),
        boot_id: String::new(),
        kernel: Kernel { release: String::new(), machine: String::new() },
        clock: Clock { name: "kernel log".into(), realtime_offset_ns: RealtimeOffset(0) },
        layout: None,
        transport: None,
        cpus: Vec::new(),
        plan: Vec::new(),
        handlers: Vec::new(),
        other_instances: Vec::new(),
        blind_spots: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_kmsg_reads_like_a_line_of_dmesg() {
        let record = b"4,1234,42628511,-;RCU not on for: f+0x0/0x1\n SUBSYSTEM=x\n";
        assert_eq!(record_line(record), b"[42.628511] RCU not on for: f+0x0/0x1\n");
        assert_eq!(record_line(b"garbage"), b"");
    }
}
