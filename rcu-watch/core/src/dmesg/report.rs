//! A kernel's log in the shape of a run: each kind of splat once for each CPU that it names, and the rest counted.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::condition::Condition;
use crate::dmesg::parts::Parts;
use crate::dmesg::{Parser, Splat};
use crate::finding::{RuleId, Severity};
use crate::fold::fingerprint;
use crate::report::finding::FindingReport;
use crate::report::header::{Clock, Header};
use crate::report::summary::{EndedBy, FindingTotal, LogRead, RuleCoverage, RuleStatus, Summary};
use crate::report::{Message, Repeat};
use crate::stream::Audience;
use crate::units::{CpuId, Nanos, RealtimeOffset};
use crate::verdict::{Codes, Exit, FailOn, judge};

/// Tells an audience what a log says: [`Report::begin`], its lines, [`Report::finish`].
pub struct Report<'a, A> {
    audience: &'a mut A,
    parser: Parser,
    parts: Parts,
    /// With the time of the last splat of the kind.
    kinds: Vec<(FindingTotal, Nanos)>,
    /// By fingerprint and CPU, and by how bad it is, since what is only a consequence hides no cause: index in `kinds`.
    ids: HashMap<(String, Option<CpuId>, Severity), usize>,
}

impl<'a, A: Audience> Report<'a, A> {
    /// Begins the stream.
    ///
    /// # Errors
    /// Where the audience does not hear.
    pub fn begin(audience: &'a mut A) -> Result<Self, A::Error> {
        audience.send(Nanos(0), None, Message::Header(Box::new(header())))?;
        let (parser, parts) = Default::default();
        Ok(Self { audience, parser, parts, kinds: Vec::new(), ids: HashMap::new() })
    }

    /// Takes the next line of the log.
    ///
    /// # Errors
    /// Where the audience does not hear.
    pub fn line(&mut self, line: &str) -> Result<(), A::Error> {
        if self.parts.takes(line) { Ok(()) } else { self.read(line) }
    }

    fn read(&mut self, line: &str) -> Result<(), A::Error> {
        let splats = self.parser.line(line);
        splats.into_iter().try_for_each(|splat| self.add(&splat.alone()))
    }

    /// Tells what is over because nothing follows for now: the log pauses, or another file follows.
    ///
    /// # Errors
    /// Where the audience does not hear.
    pub fn pause(&mut self) -> Result<(), A::Error> {
        let splats = self.parser.finish();
        splats.into_iter().try_for_each(|splat| self.add(&splat.alone()))
    }

    /// Ends the stream with the verdict.
    ///
    /// # Errors
    /// Where the audience does not hear.
    pub fn finish(mut self, ended_by: EndedBy, fail_on: FailOn, codes: Codes) -> Result<Exit, A::Error> {
        self.pause()?;
        let lines = self.parts.in_order();
        for line in lines {
            self.read(&line)?;
        }
        self.pause()?;
        let end = self.kinds.iter().map(|(_, last)| *last).max().unwrap_or_default();
        for (total, last) in &self.kinds {
            if total.count > 1 {
                let (rule, function) = (total.rule, total.function.clone());
                let repeat =
                    Repeat { id: total.id, rule, function, count: total.count - 1, last_ts_ns: *last };
                self.audience.send(*last, None, Message::Repeat(repeat))?;
            }
        }
        let unread = self.parser.unread();
        let verdict = judge(self.audience.worst(), fail_on, unread > 0);
        let exit = Exit::of_run(verdict, false).among(codes);
        let findings: Vec<_> = self.kinds.into_iter().map(|(total, _)| total).collect();
        let rules = RuleId::ALL.iter().map(|&rule| status(rule, &findings)).collect();
        let log = LogRead { lines: self.parser.lines() as u64, form: self.parser.form(), unread };
        let reasons = (unread > 0).then(|| doubt(unread)).into_iter().collect();
        let summary = Summary {
            findings,
            rules,
            reasons,
            log: Some(log),
            ..Summary::new(verdict, exit.code(), ended_by)
        };
        self.audience.send(end, None, Message::Summary(Box::new(summary)))?;
        Ok(exit)
    }

    fn add(&mut self, splat: &Splat) -> Result<(), A::Error> {
        let ts = splat.ts.unwrap_or_default();
        let print = fingerprint_of(splat);
        let key = (print.clone(), splat.cpu, splat.severity);
        if let Some(&index) = self.ids.get(&key) {
            let (total, last) = &mut self.kinds[index];
            total.count += 1;
            *last = ts;
            return Ok(());
        }
        let id = u32::try_from(self.kinds.len() + 1).unwrap_or(u32::MAX);
        self.ids.insert(key, self.kinds.len());
        let total = FindingTotal {
            id,
            rule: splat.rule,
            severity: splat.severity,
            function: splat.function.clone(),
            handlers: splat.handlers.clone(),
            count: 1,
            fingerprint: print.clone(),
            synthetic: false,
            known: false,
        };
        self.kinds.push((total, ts));
        self.audience.send(ts, splat.cpu, Message::Finding(Box::new(finding(splat, id, print))))
    }
}

/// Why a log without a splat is not clean.
fn doubt(unread: u64) -> String {
    match unread {
        1 => "1 line speaks of RCU and could not be parsed".to_owned(),
        _ => format!("{unread} lines speak of RCU and could not be parsed"),
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
    fingerprint(splat.rule, &splat.function, &splat.handlers)
}

fn finding(splat: &Splat, id: u32, fingerprint: String) -> FindingReport {
    let condition = Condition { because: splat.because(), ..splat.condition() };
    FindingReport::of_condition(&condition, id, fingerprint)
}

/// A log does not say where it comes from; what it does not say is empty.
fn header() -> Header {
    Header::new("dmesg", Clock { name: "kernel log".into(), realtime_offset_ns: RealtimeOffset(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Hit;
    use crate::stream::Head;
    use crate::units::CpuId;

    /// Keeps what it hears, up to a number of messages.
    struct Ear(Head, Vec<Message>, usize);

    impl Audience for Ear {
        type Error = ();

        fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) -> Result<(), ()> {
            if self.1.len() == self.2 {
                return Err(());
            }
            self.1.push(self.0.envelope(ts, cpu, message).message);
            Ok(())
        }

        fn snapshot(&mut self, _hit: &Hit<'_>, _cpu_seq: u64) -> Result<(), ()> {
            Ok(())
        }

        fn worst(&self) -> Option<Severity> {
            self.0.worst()
        }
    }

    const LOG: [&str; 3] = [
        "[    1.000000] RCU not on for: f+0x0/0x20",
        "[    1.000001] ---[ end trace 0000000000000000 ]---",
        "[    2.000000] RCU not on for: f+0x0/0x20",
    ];

    fn read(ear: &mut Ear) -> Result<Exit, ()> {
        read_lines(ear, &LOG)
    }

    fn read_lines(ear: &mut Ear, lines: &[&str]) -> Result<Exit, ()> {
        let mut report = Report::begin(ear)?;
        lines.iter().try_for_each(|line| report.line(line))?;
        report.finish(EndedBy::EndOfFile, FailOn::Warning, Codes::All)
    }

    #[test]
    fn a_splat_that_comes_again_is_told_once_and_counted() {
        let mut ear = Ear(Head::default(), Vec::new(), usize::MAX);
        assert_eq!(read(&mut ear), Ok(Exit::Findings));
        let [Message::Header(_), Message::Finding(first), Message::Repeat(again), Message::Summary(summary)] =
            &ear.1[..]
        else {
            panic!("{:?}", ear.1);
        };
        assert_eq!((first.id, &first.function[..]), (1, "f"));
        assert_eq!((again.id, again.count, again.last_ts_ns), (1, 1, Nanos(2_000_000_000)));
        assert_eq!(summary.findings[0].count, 2);
        let judged = |status: &&RuleStatus| status.status == RuleCoverage::Judged;
        assert_eq!(summary.rules.iter().filter(judged).count(), 1);
    }

    #[test]
    fn the_same_splat_on_another_cpu_is_told_with_its_cpu() {
        let mut ear = Ear(Head::default(), Vec::new(), usize::MAX);
        let lines = [0, 1, 1].map(|cpu| {
            format!("WARNING: CPU: {cpu} PID: 0 at kernel/context_tracking.c:128 ct_kernel_exit+0x9c/0xa8")
        });
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(read_lines(&mut ear, &lines), Ok(Exit::Findings));
        let told: Vec<_> = ear.1.iter().filter(|message| matches!(message, Message::Finding(_))).collect();
        assert_eq!(told.len(), 2);
        let Some(Message::Summary(summary)) = ear.1.last() else { panic!("{:?}", ear.1) };
        assert_eq!(summary.findings.iter().map(|total| total.count).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_line_that_speaks_of_rcu_and_cannot_be_read_leaves_no_log_clean() {
        let mut ear = Ear(Head::default(), Vec::new(), usize::MAX);
        let lines = ["they say: RCU used illegally from idle CPU!", "[    7.0] all is well"];
        assert_eq!(read_lines(&mut ear, &lines), Ok(Exit::Inconclusive));
        let [Message::Header(_), Message::Summary(summary)] = &ear.1[..] else { panic!("{:?}", ear.1) };
        assert_eq!(summary.reasons, ["1 line speaks of RCU and could not be parsed"]);
        assert_eq!(summary.log, Some(LogRead { lines: 2, form: "printk's time".to_owned(), unread: 1 }));
    }

    #[test]
    fn an_audience_that_left_ends_the_report() {
        for heard in 0..4 {
            assert_eq!(read(&mut Ear(Head::default(), Vec::new(), heard)), Err(()), "{heard}");
        }
    }
}
