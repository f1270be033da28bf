//! KTAP version 1 for test harnesses: one test a rule, and a last one for the run itself.
//!
//! The plan comes with the header, so a run that is cut short shows as missing tests. A rule that was blind
//! or not exercised is a SKIP with its reason: it has passed nothing.

use std::io::{self, Write};

use rcu_watch_core::RuleId;
use rcu_watch_core::report::summary::{FindingTotal, RuleCoverage, RuleStatus, RunVerdict, Summary};
use rcu_watch_core::report::{Envelope, FindingReport, Header, Message};
use rcu_watch_core::verdict::FailOn;

use crate::sink::Sink;

pub struct Ktap<W> {
    out: W,
    fail_on: FailOn,
}

/// The run's own test comes after one for each rule.
const RUN: usize = RuleId::ALL.len() + 1;

impl<W: Write> Ktap<W> {
    pub fn new(out: W, fail_on: FailOn) -> Self {
        Self { out, fail_on }
    }

    fn header(&mut self, header: &Header) -> io::Result<()> {
        writeln!(self.out, "KTAP version 1\n1..{RUN}")?;
        writeln!(self.out, "# {} {} on {}", header.tool, header.version, header.kernel.release)?;
        for spot in &header.blind_spots {
            writeln!(self.out, "# not seen: {} ({})", spot.what, spot.reason)?;
        }
        Ok(())
    }

    fn finding(&mut self, finding: &FindingReport) -> io::Result<()> {
        let FindingReport { rule, severity, function, because, .. } = finding;
        let handlers: Vec<_> = finding.handlers.iter().map(|handler| handler.name.as_str()).collect();
        let handlers =
            if handlers.is_empty() { String::new() } else { format!(" <- {}", handlers.join(", ")) };
        let known = if finding.known { " (in the baseline)" } else { "" };
        writeln!(self.out, "# {rule} {severity} {function}{handlers}: {because}{known}")?;
        for frame in &finding.stack {
            writeln!(self.out, "#     {}", frame.label())?;
        }
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        for (index, &rule) in RuleId::ALL.iter().enumerate() {
            let status = summary.rules.iter().find(|status| status.rule == rule);
            let outcome = self.outcome(rule, status, &summary.findings);
            let (not, directive) = outcome.words();
            writeln!(self.out, "{not}ok {} {rule} {}{directive}", index + 1, rule.name())?;
        }
        let mut reasons = summary.reasons.clone();
        let failed = summary.child.as_ref().filter(|child| child.code != Some(0));
        reasons.extend(failed.map(|child| format!("the command failed: {}", child.command)));
        for reason in &reasons {
            writeln!(self.out, "# {reason}")?;
        }
        let (not, directive) = match summary.verdict {
            RunVerdict::Unsupported => Outcome::Skip(reasons.join("; ")),
            RunVerdict::Inconclusive => Outcome::Fail,
            // A break stays a break whatever was lost, and fails its own test; this test is about the losses.
            RunVerdict::Clean | RunVerdict::Findings if !reasons.is_empty() => Outcome::Fail,
            RunVerdict::Clean | RunVerdict::Findings => Outcome::Pass,
        }
        .words();
        writeln!(self.out, "{not}ok {RUN} run{directive}")
    }

    fn outcome(&self, rule: RuleId, status: Option<&RuleStatus>, findings: &[FindingTotal]) -> Outcome {
        let counts = |finding: &FindingTotal| {
            finding.rule == rule && !finding.known && self.fail_on.includes(finding.severity)
        };
        let reason = |word: &str, status: &RuleStatus| match &status.reason {
            Some(reason) => format!("{word}: {reason}"),
            None => word.to_owned(),
        };
        match status {
            _ if findings.iter().any(counts) => Outcome::Fail,
            None => Outcome::Skip("not part of this run".to_owned()),
            Some(status) => match status.status {
                RuleCoverage::Judged => Outcome::Pass,
                RuleCoverage::NotExercised => Outcome::Skip(reason("not exercised", status)),
                RuleCoverage::Blind => Outcome::Skip(reason("blind", status)),
            },
        }
    }
}

enum Outcome {
    Pass,
    Fail,
    Skip(String),
}

impl Outcome {
    /// The word before `ok`, and the directive after the name.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Pass => ("", String::new()),
            Self::Fail => ("not ", String::new()),
            // A second `#` would end the reason for some readers.
            Self::Skip(reason) => ("", format!(" # SKIP {}", reason.replace('#', ""))),
        }
    }
}

impl<W: Write> Sink for Ktap<W> {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        match &envelope.message {
            Message::Header(header) => self.header(header)?,
            Message::Finding(finding) => self.finding(finding)?,
            Message::Lost(lost) => writeln!(self.out, "# lost {} records of {}", lost.count, lost.symbol)?,
            Message::ProbeError(error) => writeln!(self.out, "# probe {}: {}", error.symbol, error.error)?,
            Message::OutputDropped(dropped) => {
                writeln!(
                    self.out,
                    "# {} messages were not written: their reader took nothing",
                    dropped.messages
                )?;
            }
            Message::Summary(summary) => self.summary(summary)?,
            _ => return Ok(()),
        }
        self.out.flush()
    }
}
