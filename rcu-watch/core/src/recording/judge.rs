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
    /// The verdict, the counts and the rules' coverage.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::report::Envelope;
    use crate::report::summary::RunVerdict;
    use crate::stream::Filter;
    use crate::verdict::FailOn;

    fn corpus() -> impl Iterator<Item = PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "rec"))
    }

    #[test]
    fn a_recording_of_the_corpus_comes_to_what_its_stream_says() {
        let mut judged = 0;
        for recording in corpus() {
            let stream = fs::read_to_string(recording.with_extension("ndjson")).unwrap();
            let (mut findings, mut summary) = (Vec::new(), None);
            for line in stream.lines() {
                match Envelope::read(line).unwrap().unwrap().message {
                    Message::Finding(finding) => findings.push(serde_json::to_value(finding).unwrap()),
                    Message::Summary(told) => summary = Some(*told),
                    _ => {}
                }
            }
            let told = judge(&fs::read(&recording).unwrap(), &Terms::default()).unwrap();
            let found: Vec<_> = told.findings.iter().map(|f| serde_json::to_value(f).unwrap()).collect();
            assert_eq!(found, findings, "{}", recording.display());
            let summary = summary.unwrap();
            assert_eq!(told.exit.code(), summary.exit_code);
            assert_eq!(serde_json::to_value(told.summary).unwrap(), serde_json::to_value(summary).unwrap());
            judged += 1;
        }
        assert_eq!(judged, 4);
    }

    #[test]
    fn what_is_not_told_does_not_count() {
        let terms = Terms { filter: Filter { silent: true, ..Filter::default() }, ..Terms::default() };
        for recording in corpus() {
            let told = judge(&fs::read(recording).unwrap(), &terms).unwrap();
            assert!(told.findings.is_empty() && told.summary.findings.is_empty());
            assert_ne!(told.summary.verdict, RunVerdict::Findings);
        }
    }

    #[test]
    fn a_recording_without_its_end_is_inconclusive_where_nothing_counts() {
        let terms = Terms { fail_on: FailOn::Never, ..Terms::default() };
        for recording in corpus() {
            let bytes = fs::read(recording).unwrap();
            let told = judge(&bytes[..bytes.len() - 1], &terms).unwrap();
            assert_eq!(told.exit, Exit::Inconclusive);
            assert!(told.summary.reasons[0].contains("is cut off"), "{:?}", told.summary.reasons);
        }
    }
}
