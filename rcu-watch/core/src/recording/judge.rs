//! A recording in memory, judged: for programs that want the verdict and no stream.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::convert::Infallible;

use crate::finding::Severity;
use crate::recording::play::{PlayError, Terms, play};
use crate::report::{FindingReport, Header, Message, Summary};
use crate::rules::Hit;
use crate::stream::{Audience, Head};
use crate::units::{CpuId, Nanos};
use crate::verdict::Exit;

/// What a recording comes to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Where it was made, and what was watched.
    pub header: Header,
    /// The first break of each kind; [`Summary::findings`] counts them.
    pub findings: Vec<FindingReport>,
    pub summary: Summary,
    /// As which a process with this verdict should end.
    pub exit: Exit,
}

/// Judges a recording of `rcu-watch record`.
///
/// # Errors
/// Where nothing of it can be read. One that is cut off or corrupt further on is judged up to there, and the verdict
/// is inconclusive.
pub fn judge(recording: &[u8], terms: &Terms) -> Result<Judged, PlayError<Infallible>> {
    let mut heard = Heard::default();
    let exit = play(recording, &mut heard, terms)?;
    let Heard { header, findings, summary, .. } = heard;
    let header = *header.expect("a recording that was played began with its header");
    let summary = *summary.expect("a recording that was played ended with a summary");
    Ok(Judged { header, findings, summary, exit })
}

/// Keeps the messages that make up the verdict.
#[derive(Default)]
struct Heard {
    head: Head,
    header: Option<Box<Header>>,
    findings: Vec<FindingReport>,
    summary: Option<Box<Summary>>,
}

impl Audience for Heard {
    type Error = Infallible;

    fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) -> Result<(), Infallible> {
        match self.head.envelope(ts, cpu, message).message {
            Message::Header(header) => self.header = Some(header),
            Message::Finding(finding) => self.findings.push(*finding),
            Message::Summary(summary) => self.summary = Some(summary),
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&mut self, _hit: &Hit<'_>, _cpu_seq: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn worst(&self) -> Option<Severity> {
        self.head.worst()
    }
}
