//! The audience of a run: hands what is said to every sink.
//!
//! Once a sink fails (a closed pipe, a full disk) the stream is over: the error goes to the caller, who still has to
//! end with the right exit code.

use std::io;

use rcu_watch_core::report::{Baseline, Heartbeat, Message};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::stream::{Audience, Head, Seen};
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::{RuleId, Severity};

use crate::sink::Sink;

/// Whether this error is the reader of our output having gone away.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(pipe))
}

/// Everybody who listens to a run.
pub struct Stream {
    head: Head,
    sinks: Vec<Box<dyn Sink>>,
}

impl Stream {
    #[must_use]
    pub fn new(sink: Box<dyn Sink>, baseline: Baseline) -> Self {
        Self { head: Head::new(baseline), sinks: vec![sink] }
    }

    /// Adds a sink that gets every message from here on.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    pub fn send(&mut self, ts_ns: Nanos, cpu: Option<CpuId>, message: Message) -> io::Result<()> {
        let envelope = self.head.envelope(ts_ns, cpu, message);
        self.sinks.iter_mut().try_for_each(|sink| sink.message(&envelope))
    }

    /// Writes out what sinks may have kept back: nothing more comes at once.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.flush())
    }

    /// Hands the current numbers to sinks with a status line. They are no part of the stream, so callers may do it as
    /// often as they like.
    pub fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.status(now))
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.finish())
    }

    /// The worst finding that was sent and is not in the baseline.
    #[must_use]
    pub const fn worst(&self) -> Option<Severity> {
        self.head.worst()
    }
}

impl Audience for Stream {
    type Error = io::Error;

    fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) -> io::Result<()> {
        Self::send(self, ts, cpu, message)
    }

    fn snapshot(&mut self, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
        let seq = self.head.next_seq();
        self.sinks.iter_mut().try_for_each(|sink| sink.snapshot(seq, hit, cpu_seq))
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.observe(seen))
    }

    fn again(&mut self, rule: RuleId, seen: &Seen<'_>) -> io::Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.again(rule, seen))
    }

    fn worst(&self) -> Option<Severity> {
        Self::worst(self)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use rcu_watch_core::report::{Envelope, ProbeError};

    /// Counts what it hears; fails from the given message on.
    struct Listener(Rc<Cell<u32>>, u32);

    impl Sink for Listener {
        fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
            if self.0.get() == self.1 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            assert_eq!(envelope.seq, u64::from(self.0.get()));
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    fn send(stream: &mut Stream) -> io::Result<()> {
        let error = ProbeError { probe: None, symbol: "f".into(), error: "busy".into() };
        stream.send(Nanos(0), None, Message::ProbeError(error))
    }

    #[test]
    fn every_sink_hears_every_message_by_its_number() {
        let (first, second) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut stream = Stream::new(Box::new(Listener(first.clone(), 9)), Baseline::default());
        stream.add(Box::new(Listener(second.clone(), 9)));
        send(&mut stream).and_then(|()| send(&mut stream)).unwrap();
        assert_eq!((first.get(), second.get()), (2, 2));
    }

    #[test]
    fn a_sink_that_fails_ends_the_stream() {
        let mut stream = Stream::new(Box::new(Listener(Rc::default(), 1)), Baseline::default());
        send(&mut stream).unwrap();
        assert_eq!(send(&mut stream).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
