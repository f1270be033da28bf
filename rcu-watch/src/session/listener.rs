//! From what the pipeline says to messages of the stream, with addresses turned into names.

use std::cell::RefCell;
use std::io;

use rcu_watch_core::Seen;
use rcu_watch_core::cause::Cause;
use rcu_watch_core::decode::DecodeError;
use rcu_watch_core::finding::RuleId;
use rcu_watch_core::order::Gap;
use rcu_watch_core::pipeline::{Finding, Listener};
use rcu_watch_core::probe::Point;
use rcu_watch_core::report::finding::{Frame, StateReport, TaskReport};
use rcu_watch_core::report::{FindingReport, Message, ProbeError, Transition};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::snapshot::Snapshot;
use rcu_watch_core::units::Address;

use super::symbols::Symbols;
use super::watch::Causes;
use crate::clock;
use crate::recording::Recorder;
use crate::sink::Stream;

/// What is to be told of all that the pipeline says.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these rules; empty: all.
    pub rules: Vec<RuleId>,
    /// Every record, not only findings.
    pub snapshots: bool,
}

impl Filter {
    /// Whether findings of this rule are told.
    #[must_use]
    pub fn tells(&self, rule: RuleId) -> bool {
        self.rules.is_empty() || self.rules.contains(&rule)
    }
}

/// Sends what it hears; keeps the first error of the stream for whoever drains.
pub struct Teller<'a> {
    pub stream: &'a mut Stream,
    pub symbols: &'a mut Symbols,
    pub filter: &'a Filter,
    /// Findings told so far.
    pub told: &'a mut u64,
    pub recorder: Option<&'a mut Recorder>,
    pub causes: &'a mut Causes,
    pub error: Option<io::Error>,
}

impl Teller<'_> {
    fn send(&mut self, snapshot: &Snapshot<'_>, message: Message) {
        if self.error.is_none() {
            self.error = self.stream.send(snapshot.ts, Some(snapshot.cpu), message).err();
        }
    }
}

impl Teller<'_> {
    fn transition(&mut self, hit: &Hit<'_>, cause: Option<Cause>) {
        let Some(cause) = cause.filter(|_| self.filter.snapshots) else { return };
        let table = self.symbols.table();
        let frame = |address: Address| Frame {
            address: Some(address),
            symbol: table.and_then(|table| table.resolve(address.0)).map(|place| place.to_string()),
        };
        let transition = Transition {
            cause,
            writer: hit.snapshot.regs.map(|regs| frame(regs.ip)),
            caller: hit.snapshot.caller.map(frame),
            state: StateReport::new(hit),
            task: TaskReport::new(&hit.snapshot.task),
        };
        self.send(hit.snapshot, Message::Transition(Box::new(transition)));
    }
}

impl Listener for Teller<'_> {
    fn finding(&mut self, finding: &Finding<'_>) {
        if !self.filter.tells(finding.verdict.rule) {
            return;
        }
        *self.told += 1;
        let symbols = self.symbols.table();
        // Also of the frames that the report leaves out: by their names a replay knows to leave them out, too.
        let named = RefCell::new(Vec::new());
        let report = FindingReport::new(finding, |address: Address| {
            let place = symbols.and_then(|table| table.resolve(address.0)).map(|place| place.to_string());
            named.borrow_mut().push(Frame { address: Some(address), symbol: place.clone() });
            place
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.names(&named.into_inner());
        }
        self.send(finding.hit.snapshot, Message::Finding(Box::new(report)));
    }

    fn again(&mut self, rule: RuleId, hit: &Hit<'_>) {
        if self.filter.tells(rule) && self.error.is_none() {
            self.error = self.stream.again(rule, &Seen::new(hit)).err();
        }
    }

    fn hit(&mut self, hit: &Hit<'_>, cpu_seq: u64) {
        if self.filter.snapshots && self.error.is_none() {
            self.error = self.stream.snapshot(hit, cpu_seq).err();
        }
        let cause = self.causes.count(hit.snapshot);
        let point = match cause {
            None => hit.probe.point,
            Some(Cause::IrqEnter) => Point::IrqEnter,
            Some(Cause::IrqExit) => Point::IrqExit,
            // Idle is drawn from its tracepoints, which every kernel has.
            Some(_) => return self.transition(hit, cause),
        };
        if self.error.is_none() {
            self.error = self.stream.observe(&Seen { point, ..Seen::new(hit) }).err();
        }
        self.transition(hit, cause);
    }

    fn gap(&mut self, _gap: Gap) {
        // Told from the programs' own counters, which also see what was lost at the very end.
    }

    fn undecodable(&mut self, error: &DecodeError) {
        let message = ProbeError { probe: None, symbol: "EVENTS".to_owned(), error: error.to_string() };
        if self.error.is_none() {
            self.error = self.stream.send(clock::now(), None, Message::ProbeError(message)).err();
        }
    }
}
