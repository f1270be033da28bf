//! The stream's head: numbers what is said and hands it to every sink.
//!
//! `seq` has no gaps because this is the only place that makes envelopes. Once a sink fails (a closed pipe, a
//! full disk) the stream is over: the error goes to the caller, who still owes the exit code.

use std::io;

use crate::core::finding::Severity;
use crate::core::units::{CpuId, Nanos};
use crate::report::{Envelope, Heartbeat, Message};
use crate::sink::Sink;

pub struct Stream {
    next_seq: u64,
    worst: Option<Severity>,
    sinks: Vec<Box<dyn Sink>>,
}

impl Stream {
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { next_seq: 0, worst: None, sinks: vec![sink] }
    }

    /// A further listener, from here on.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    pub fn send(&mut self, ts_ns: Nanos, cpu: Option<CpuId>, message: Message) -> io::Result<()> {
        if let Message::Finding(finding) = &message {
            self.worst = self.worst.max(Some(finding.severity));
        }
        let envelope = Envelope { seq: self.next_seq, ts_ns, cpu, message };
        self.next_seq += 1;
        self.sinks.iter_mut().try_for_each(|sink| sink.message(&envelope))
    }

    /// The numbers of now for a status line; no part of the stream, so as often as one likes.
    pub fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.status(now))
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.finish())
    }

    /// The worst finding that was sent.
    #[must_use]
    pub const fn worst(&self) -> Option<Severity> {
        self.worst
    }
}
