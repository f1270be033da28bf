//! The head of a stream: numbers what is said, and marks what was known before.
//!
//! `seq` has no gaps because this is the only place that makes envelopes.

use crate::finding::Severity;
use crate::report::{Baseline, Envelope, Message};
use crate::units::{CpuId, Nanos};

/// Where a stream begins.
#[derive(Debug, Default)]
pub struct Head {
    next_seq: u64,
    worst: Option<Severity>,
    baseline: Baseline,
}

impl Head {
    /// The head of a stream that is judged against `baseline`.
    #[must_use]
    pub fn new(baseline: Baseline) -> Self {
        Self { baseline, ..Self::default() }
    }

    /// The number of the message that comes next.
    pub const fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Numbers a message, and marks the findings in it that the baseline knows.
    #[must_use]
    pub fn envelope(&mut self, ts_ns: Nanos, cpu: Option<CpuId>, mut message: Message) -> Envelope {
        match &mut message {
            Message::Finding(finding) => {
                finding.known = self.baseline.knows(&finding.fingerprint);
                if !finding.known {
                    self.worst = self.worst.max(Some(finding.severity));
                }
            }
            Message::Summary(summary) => {
                for finding in &mut summary.findings {
                    finding.known = self.baseline.knows(&finding.fingerprint);
                }
            }
            _ => {}
        }
        Envelope { seq: self.next_seq(), ts_ns, cpu, message }
    }

    /// The worst finding that was told and is not in the baseline.
    #[must_use]
    pub const fn worst(&self) -> Option<Severity> {
        self.worst
    }
}
