//! The audience of a run: hands what is said to every sink, and is the door at which names that others gave are made
//! harmless: a sink gets them as [`rcu_watch_core::shown`] has them, but for JSON.
//!
//! A reader that goes away (a closed pipe) is no error: its sink hears no more, the others do, and what runs comes to its
//! verdict, which [`Stream::finish`] makes one that nobody heard. A sink that fails otherwise (a full disk) ends the stream:
//! the error goes to the caller.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rcu_watch_core::report::{Baseline, Envelope, Heartbeat, Message, OutputDropped, SnapshotReport};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::shown::{is_plain, shown};
use rcu_watch_core::stream::{Audience, Head, Seen};
use rcu_watch_core::units::{CpuId, Nanos};
use rcu_watch_core::verdict::{Codes, Exit};
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
    /// Which exit codes the reader knows.
    codes: Codes,
    /// A reader went away.
    closed: Arc<AtomicBool>,
    /// When the latest message happened.
    latest: Nanos,
}

impl Stream {
    #[must_use]
    pub fn new(sink: Box<dyn Sink>, baseline: Baseline) -> Self {
        let closed = sink.closed().unwrap_or_default();
        Self { head: Head::new(baseline), sinks: vec![sink], codes: Codes::All, closed, latest: Nanos(0) }
    }

    /// The same for a reader that knows these exit codes.
    #[must_use]
    pub fn with_codes(self, codes: Codes) -> Self {
        Self { codes, ..self }
    }

    /// Adds a sink that gets every message from here on.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }

    pub fn send(&mut self, ts_ns: Nanos, cpu: Option<CpuId>, message: Message) -> io::Result<()> {
        self.latest = self.latest.max(ts_ns);
        let envelope = self.head.envelope(ts_ns, cpu, message);
        self.tell(&envelope)
    }

    /// Hands a message to every sink, with the texts that it takes.
    fn tell(&mut self, envelope: &Envelope) -> io::Result<()> {
        let shown = envelope.shown()?;
        self.each(|sink| sink.message(if sink.takes_any_text() { envelope } else { &shown }))
    }

    /// Says something to every sink; the first error that is not a reader's going away comes back.
    fn each(&mut self, mut say: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let Self { sinks, closed, .. } = self;
        let mut failed = Ok(());
        sinks.retain_mut(|sink| match say(sink.as_mut()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                closed.store(true, Ordering::Relaxed);
                false
            }
            Err(error) => {
                if failed.is_ok() {
                    failed = Err(error);
                }
                true
            }
            Ok(()) => true,
        });
        failed
    }

    /// Whether a reader went away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether nobody waits for more: a run that could go on for ever ends then.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_closed() || self.sinks.iter().any(|sink| sink.is_left())
    }

    /// `input` until a reader of this stream goes away: what comes from a pipe may never end.
    pub fn while_heard<R: Read>(&self, input: R) -> WhileHeard<R> {
        WhileHeard { input, closed: self.closed.clone() }
    }

    /// What `exit` comes to where a reader went away.
    #[must_use]
    pub fn as_heard(&self, exit: Exit) -> Exit {
        if self.is_closed() { exit.unheard().among(self.codes) } else { exit }
    }

    /// Writes out what sinks may have kept back: nothing more comes at once.
    pub fn flush(&mut self) -> io::Result<()> {
        self.each(|sink| sink.flush())?;
        let news = self.sinks.iter_mut().find_map(|sink| sink.newly_dropped());
        news.map_or(Ok(()), |dropped| self.send(self.latest, None, Message::OutputDropped(dropped)))
    }

    /// What was not written because its reader took nothing.
    #[must_use]
    pub fn dropped(&self) -> OutputDropped {
        let all = self.sinks.iter().map(|sink| sink.dropped());
        all.max_by_key(|dropped| dropped.messages).unwrap_or_default()
    }

    /// Hands the current numbers to sinks with a status line. They are no part of the stream, so callers may do it as
    /// often as they like.
    pub fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        self.each(|sink| sink.status(now))
    }

    /// No more comes. The exit code of a run that ended with `exit`, by who heard it.
    ///
    /// # Errors
    /// Where a sink could not write all.
    pub fn finish(&mut self, exit: Exit) -> io::Result<Exit> {
        self.each(|sink| sink.finish())?;
        Ok(self.as_heard(exit))
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
        let comm = hit.snapshot.task.comm.iter().take_while(|&&byte| byte != 0);
        if hit.probe.symbol.chars().all(is_plain) && comm.copied().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.each(|sink| sink.snapshot(seq, hit, cpu_seq));
        }
        let (ts_ns, cpu) = (hit.snapshot.ts, Some(hit.snapshot.cpu));
        let message = Message::Snapshot(Box::new(SnapshotReport::new(hit, cpu_seq)));
        self.tell(&Envelope { seq, ts_ns, cpu, message })
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        let symbol = shown(seen.symbol);
        self.each(|sink| sink.observe(&Seen { symbol: &symbol, ..*seen }))
    }

    fn again(&mut self, rule: RuleId, seen: &Seen<'_>) -> io::Result<()> {
        let symbol = shown(seen.symbol);
        self.each(|sink| sink.again(rule, &Seen { symbol: &symbol, ..*seen }))
    }

    fn worst(&self) -> Option<Severity> {
        Self::worst(self)
    }
}

/// An input that ends where nobody hears any more what is made of it.
pub struct WhileHeard<R> {
    input: R,
    closed: Arc<AtomicBool>,
}

impl<R: Read> Read for WhileHeard<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.closed.load(Ordering::Relaxed) { Ok(0) } else { self.input.read(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use rcu_watch_core::report::ProbeError;

    /// Counts what it hears, and its end as a thousand; fails from the given message on.
    struct Listener(Rc<Cell<u32>>, u32, io::ErrorKind);

    const PIPE: io::ErrorKind = io::ErrorKind::BrokenPipe;

    impl Sink for Listener {
        fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
            if self.0.get() == self.1 {
                return Err(self.2.into());
            }
            assert_eq!(envelope.seq, u64::from(self.0.get()));
            self.0.set(self.0.get() + 1);
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            self.0.set(self.0.get() + 1000);
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
        let mut stream = Stream::new(Box::new(Listener(first.clone(), 9, PIPE)), Baseline::default());
        stream.add(Box::new(Listener(second.clone(), 9, PIPE)));
        send(&mut stream).and_then(|()| send(&mut stream)).unwrap();
        assert_eq!((first.get(), second.get()), (2, 2));
    }

    #[test]
    fn a_sink_that_fails_ends_the_stream() {
        let full = Listener(Rc::default(), 1, io::ErrorKind::StorageFull);
        let mut stream = Stream::new(Box::new(full), Baseline::default());
        send(&mut stream).unwrap();
        assert_eq!(send(&mut stream).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!stream.is_closed());
    }

    #[test]
    fn where_a_reader_goes_away_the_others_hear_it_to_its_end_and_the_verdict_is_unheard() {
        let (file, pipe) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut stream = Stream::new(Box::new(Listener(pipe.clone(), 1, PIPE)), Baseline::default());
        stream.add(Box::new(Listener(file.clone(), 9, PIPE)));
        let mut input = stream.while_heard(&b"abc"[..]);
        send(&mut stream).unwrap();
        let mut byte = [0];
        assert!(!stream.is_left());
        assert_eq!((stream.as_heard(Exit::Clean), input.read(&mut byte).unwrap()), (Exit::Clean, 1));
        send(&mut stream).and_then(|()| send(&mut stream)).unwrap();
        assert!(stream.is_closed() && stream.is_left());
        assert_eq!(input.read(&mut byte).unwrap(), 0);
        assert_eq!(stream.finish(Exit::Clean).unwrap(), Exit::Inconclusive);
        assert_eq!(stream.finish(Exit::Findings).unwrap(), Exit::Findings);
        assert_eq!(stream.with_codes(Codes::Ktap).as_heard(Exit::Clean), Exit::Error);
        assert_eq!((pipe.get(), file.get()), (1, 2003));
    }
}
