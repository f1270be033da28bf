//! Hands what a sink writes to the standard streams over to their queue, message by message.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rcu_watch_core::RuleId;
use rcu_watch_core::report::{Envelope, Heartbeat, Message, OutputDropped};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::stream::Seen;

use crate::outlet::{self, Class, Queue, Wrap};
use crate::sink::Sink;
use crate::sink::standard::explain;

/// How long it may take to say on standard error what standard output did not take.
const NOTE: Duration = Duration::from_millis(200);

pub(super) struct Queued {
    sink: Box<dyn Sink>,
    wrap: Wrap,
    queue: Arc<Queue>,
    /// Snapshots that the sink keeps back, or has just written.
    kept: u64,
}

impl Queued {
    /// `sink` writes to the inlets of `wrap`, as far as it writes to standard streams.
    ///
    /// # Errors
    /// Where the queue cannot be started.
    pub(super) fn open(sink: Box<dyn Sink>, wrap: Wrap) -> io::Result<Self> {
        Ok(Self { sink, wrap, queue: outlet::queue()?, kept: 0 })
    }

    fn hand_over(&self, class: Class, messages: u64) -> io::Result<()> {
        self.wrap.hand_over(&self.queue, class, messages).map_err(|error| explain("standard output", error))
    }

    fn hand_over_kept(&mut self) -> io::Result<()> {
        let kept = std::mem::take(&mut self.kept);
        self.hand_over(Class::Plain, kept)
    }
}

fn class(message: &Message) -> Class {
    match message {
        Message::Header(_) | Message::Summary(_) | Message::OutputDropped(_) => Class::Frame,
        Message::Finding(_) => Class::Finding,
        _ => Class::Plain,
    }
}

impl Sink for Queued {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        if self.kept > 0 {
            self.sink.flush()?;
            self.hand_over_kept()?;
        }
        self.sink.message(envelope)?;
        self.hand_over(class(&envelope.message), 1)
    }

    fn snapshot(&mut self, seq: u64, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
        self.sink.snapshot(seq, hit, cpu_seq)?;
        self.kept += 1;
        if self.wrap.is_empty() { Ok(()) } else { self.hand_over_kept() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()?;
        self.hand_over_kept()
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.sink.observe(seen)
    }

    fn again(&mut self, rule: RuleId, seen: &Seen<'_>) -> io::Result<()> {
        self.sink.again(rule, seen)
    }

    fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        self.sink.status(now)?;
        self.hand_over(Class::Passing, 0)
    }

    fn takes_any_text(&self) -> bool {
        self.sink.takes_any_text()
    }

    fn is_left(&self) -> bool {
        self.sink.is_left()
    }

    fn closed(&self) -> Option<Arc<AtomicBool>> {
        Some(self.queue.closed().clone())
    }

    fn newly_dropped(&mut self) -> Option<OutputDropped> {
        self.queue.news()
    }

    fn dropped(&self) -> OutputDropped {
        self.queue.dropped()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()?;
        self.hand_over_kept()?;
        let before = self.queue.dropped();
        let finished = self.queue.finish().map_err(|error| explain("standard output", error));
        let OutputDropped { messages, findings } = self.queue.dropped();
        if messages > before.messages {
            let note = format!(
                "rcu-watch: {messages} messages were not written, {findings} of them findings: the reader of the \
                 output took nothing\n"
            );
            self.queue.last_words(note, NOTE);
        }
        finished
    }
}
