//! What the pipeline says, as messages.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::cause::Cause;
use crate::condition::Condition;
use crate::decode::DecodeError;
use crate::finding::RuleId;
use crate::pipeline::{Finding, Listener, Pipeline};
use crate::probe::Point;
use crate::report::finding::{StackFrame, StateReport, TaskReport};
use crate::report::{FindingReport, Message, ProbeError, Transition};
use crate::rules::Hit;
use crate::seen::Seen;
use crate::snapshot::Snapshot;
use crate::stream::{Audience, Filter};
use crate::units::{Address, CpuId, Nanos};

/// What a listener asks for: all that is in no record.
pub trait Host {
    /// The name of an address of the kernel: `function+0x1c`.
    fn name(&mut self, address: Address) -> Option<String>;

    /// What a record shows to those who draw or count.
    fn sight(&mut self, _snapshot: &Snapshot<'_>) -> Sight {
        Sight::Itself
    }

    /// Hears of each finding ahead of its message, also of those that are not told.
    fn found(&mut self, _finding: &Finding<'_>) {}

    /// Hears the names that were given for a finding ahead of its message, also of frames that it leaves out.
    fn named(&mut self, _stack: &[StackFrame]) {}

    /// The time of what has none of its own; `latest` is the time of the last message.
    fn now(&self, latest: Nanos) -> Nanos {
        latest
    }
}

/// What a record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// That its point was passed.
    Itself,
    /// A write of S, for this reason.
    Write(Cause),
    /// A write of S whose reason cannot be known.
    Nothing,
}

/// Sends what it hears; keeps the first error of its audience for whoever feeds the pipeline.
pub struct StreamListener<'a, A: Audience, H> {
    /// Whoever hears the messages.
    pub audience: &'a mut A,
    /// Whoever knows what records do not hold.
    pub host: H,
    filter: &'a Filter,
    /// Added to the ids of findings: a stream of several pipelines numbers through.
    first_id: u32,
    told: u64,
    latest: Nanos,
    error: Option<A::Error>,
}

impl<'a, A: Audience, H: Host> StreamListener<'a, A, H> {
    /// Tells `audience` what `filter` lets through; `host` is asked for what records do not hold.
    #[must_use]
    pub fn new(audience: &'a mut A, host: H, filter: &'a Filter) -> Self {
        Self { audience, host, filter, first_id: 0, told: 0, latest: Nanos(0), error: None }
    }

    /// Lets the ids of findings begin after `first_id`.
    #[must_use]
    pub fn after(self, first_id: u32) -> Self {
        Self { first_id, ..self }
    }

    /// Findings told so far.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// The time of the latest message.
    #[must_use]
    pub const fn latest(&self) -> Nanos {
        self.latest
    }

    /// Sends a message that no record makes.
    pub fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) {
        self.latest = self.latest.max(ts);
        self.attempt(|audience| audience.send(ts, cpu, message));
    }

    /// Tells what a look found, if it is the first of its kind.
    pub fn condition(&mut self, pipeline: &mut Pipeline, ts: Nanos, condition: &Condition) {
        let cpu = match &condition.holders[..] {
            [holder] => condition.cpu.or(holder.cpu),
            _ => condition.cpu,
        };
        let first = pipeline.add_condition(condition, ts).map(|total| (total.id, total.fingerprint.clone()));
        let Some((id, fingerprint)) = first.filter(|_| self.filter.tells(condition.rule)) else { return };
        self.told += 1;
        let report = FindingReport::of_condition(condition, self.first_id + id, fingerprint);
        self.send(ts, cpu, Message::Finding(Box::new(report)));
    }

    /// Whether the audience still hears; after an error nothing is sent.
    ///
    /// # Errors
    /// Why it does not.
    pub fn take_error(&mut self) -> Result<(), A::Error> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn attempt(&mut self, say: impl FnOnce(&mut A) -> Result<(), A::Error>) {
        if self.error.is_none() {
            self.error = say(self.audience).err();
        }
    }

    fn observe(&mut self, seen: &Seen<'_>) {
        self.attempt(|audience| audience.observe(seen));
    }

    fn transition(&mut self, hit: &Hit<'_>, cause: Cause) {
        if !self.filter.snapshots {
            return;
        }
        let host = &mut self.host;
        let mut frame = |address: Address| StackFrame { address: Some(address), symbol: host.name(address) };
        let transition = Transition {
            cause,
            writer: hit.snapshot.regs.map(|regs| frame(regs.ip)),
            caller: hit.snapshot.caller.map(frame),
            state: StateReport::new(hit),
            task: TaskReport::new(&hit.snapshot.task),
        };
        self.send(hit.snapshot.ts, Some(hit.snapshot.cpu), Message::Transition(Box::new(transition)));
    }
}

impl<A: Audience, H: Host> Listener for StreamListener<'_, A, H> {
    fn finding(&mut self, finding: &Finding<'_>) {
        self.host.found(finding);
        if !self.filter.tells(finding.verdict.rule) {
            return;
        }
        self.told += 1;
        let host = &mut self.host;
        let mut named = Vec::new();
        let mut report = FindingReport::new(finding, |address: Address| {
            let symbol = host.name(address);
            named.push(StackFrame { address: Some(address), symbol: symbol.clone() });
            symbol
        });
        report.id += self.first_id;
        // By the names of frames that the report leaves out a replay knows to leave them out, too.
        self.host.named(&named);
        let snapshot = finding.hit.snapshot;
        self.send(snapshot.ts, Some(snapshot.cpu), Message::Finding(Box::new(report)));
    }

    fn again(&mut self, rule: RuleId, hit: &Hit<'_>) {
        if self.filter.tells(rule) {
            self.attempt(|audience| audience.again(rule, &Seen::new(hit)));
        }
    }

    fn hit(&mut self, hit: &Hit<'_>, cpu_seq: u64) {
        if self.filter.snapshots {
            self.latest = self.latest.max(hit.snapshot.ts);
            self.attempt(|audience| audience.snapshot(hit, cpu_seq));
        }
        match self.host.sight(hit.snapshot) {
            Sight::Itself => self.observe(&Seen::new(hit)),
            Sight::Nothing => {}
            Sight::Write(cause) => {
                let point = match cause {
                    Cause::IrqEnter => Some(Point::IrqEnter),
                    Cause::IrqExit => Some(Point::IrqExit),
                    // Idle is drawn from its tracepoints, which every kernel has.
                    _ => None,
                };
                if let Some(point) = point {
                    self.observe(&Seen { point, ..Seen::new(hit) });
                }
                self.transition(hit, cause);
            }
        }
    }

    // Gaps are told from the programs' own counters, which also see what was lost at the very end.

    fn undecodable(&mut self, error: &DecodeError) {
        let message = ProbeError { probe: None, symbol: "EVENTS".to_owned(), error: error.to_string() };
        let now = self.host.now(self.latest);
        // It is no news of how far the stream has come.
        self.attempt(|audience| audience.send(now, None, Message::ProbeError(message)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::finding::Severity;
    use crate::model::generation::Generation;
    use crate::pipeline::Pipeline;
    use crate::probe::{HandlerKind, Mechanism, Reliance};
    use crate::rules::tests::{handler, idle, kernel, probe};
    use crate::stream::Head;

    /// Notes what it hears by a word each, up to a number of words.
    struct Ear(Head, Vec<&'static str>, usize);

    impl Ear {
        fn new(words: usize) -> Self {
            Self(Head::default(), Vec::new(), words)
        }

        fn note(&mut self, word: &'static str) -> Result<(), usize> {
            if self.1.len() == self.2 {
                return Err(self.2);
            }
            self.1.push(word);
            Ok(())
        }
    }

    impl Audience for Ear {
        type Error = usize;

        fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) -> Result<(), usize> {
            match self.0.envelope(ts, cpu, message).message {
                Message::Finding(finding) => self.note(if finding.id == 8 { "finding 8" } else { "finding" }),
                Message::Transition(_) => self.note("transition"),
                Message::ProbeError(_) => self.note("undecodable"),
                _ => self.note("other"),
            }
        }

        fn snapshot(&mut self, _hit: &Hit<'_>, _cpu_seq: u64) -> Result<(), usize> {
            self.note("snapshot")
        }

        fn observe(&mut self, seen: &Seen<'_>) -> Result<(), usize> {
            self.note(if seen.point == Point::IrqExit { "seen irq_exit" } else { "seen" })
        }

        fn again(&mut self, _rule: RuleId, _seen: &Seen<'_>) -> Result<(), usize> {
            self.note("again")
        }

        fn worst(&self) -> Option<Severity> {
            self.0.worst()
        }
    }

    struct Nobody(Sight);

    impl Host for Nobody {
        fn name(&mut self, _address: Address) -> Option<String> {
            None
        }

        fn sight(&mut self, _snapshot: &Snapshot<'_>) -> Sight {
            self.0
        }
    }

    /// What an audience hears of a broken record, the same again, and bytes that are none.
    fn heard(words: usize, sight: Sight, filter: &Filter) -> (Vec<&'static str>, Result<(), usize>) {
        let mut patched = probe(Point::PatchedFunction, Mechanism::Fentry);
        patched.handlers.push(handler(HandlerKind::Livepatch, Reliance::Relies));
        let mut pipeline = Pipeline::new(kernel(Generation::G5), vec![patched]);
        let mut ear = Ear::new(words);
        let mut listener = StreamListener::new(&mut ear, Nobody(sight), filter).after(7);
        for record in [encode(&idle(1, 0, 0, 0)), encode(&idle(1, 0, 0, 0)), vec![1, 2, 3]] {
            pipeline.push(&record, &mut listener);
        }
        let error = listener.take_error();
        (ear.1, error)
    }

    #[test]
    fn a_finding_is_told_once_and_each_record_is_seen() {
        let (heard, error) = heard(99, Sight::Itself, &Filter::default());
        assert_eq!(heard, ["seen", "finding 8", "seen", "again", "undecodable"]);
        assert_eq!(error, Ok(()));
    }

    #[test]
    fn with_snapshots_each_record_and_each_write_of_s_is_a_message() {
        let filter = Filter { snapshots: true, silent: true, ..Filter::default() };
        let (heard, _) = heard(3, Sight::Write(Cause::IrqExit), &filter);
        assert_eq!(heard, ["snapshot", "seen irq_exit", "transition"]);
    }

    #[test]
    fn a_write_of_s_that_nobody_can_explain_is_not_drawn() {
        let filter = Filter { silent: true, ..Filter::default() };
        assert_eq!(heard(99, Sight::Nothing, &filter).0, ["undecodable"]);
        assert_eq!(heard(99, Sight::Write(Cause::IdleEnter), &filter).0, ["undecodable"]);
    }

    #[test]
    fn after_its_first_error_an_audience_is_told_nothing_more() {
        let (heard, error) = heard(1, Sight::Itself, &Filter::default());
        assert_eq!((heard, error), (vec!["seen"], Err(1)));
    }
}
