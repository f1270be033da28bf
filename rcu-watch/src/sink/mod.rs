//! The sinks, at the end of the pipeline: each writes what a run says in its own form.
//!
//! A sink takes the numbered messages of [`rcu_watch_core::report`] and writes to an `io::Write`, so a test prints
//! into a `Vec<u8>`. [`open`] is the only place here that knows of files, terminals and the environment.

pub(crate) mod create;
pub mod json;
pub mod ktap;
mod line;
pub(crate) mod metrics;
pub mod names;
pub(crate) mod options;
pub(crate) mod output;
pub mod perfetto;
mod queued;
mod standard;
pub(crate) mod stream;
pub mod text;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rcu_watch_core::RuleId;
use rcu_watch_core::report::{Envelope, Heartbeat, Message, OutputDropped, SnapshotReport};
use rcu_watch_core::rules::Hit;
use rcu_watch_core::stream::Seen;

pub use stream::{Stream, WhileHeard, is_closed_pipe};

pub use options::{ColorChoice, Format, Options};
pub use output::{open, stream};
pub(crate) use standard::{StandardError, print};

pub trait Sink {
    /// A message of the stream, in order, none left out.
    fn message(&mut self, envelope: &Envelope) -> io::Result<()>;

    /// One record in full, as message `seq`. It may be kept back until the next message, [`Self::flush`] or the
    /// end: there can be millions a second.
    fn snapshot(&mut self, seq: u64, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
        let (ts_ns, cpu) = (hit.snapshot.ts, Some(hit.snapshot.cpu));
        let message = Message::Snapshot(Box::new(SnapshotReport::new(hit, cpu_seq)));
        self.message(&Envelope { seq, ts_ns, cpu, message })
    }

    /// Writes out what was kept back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// One record as it came, for sinks that draw or count; no part of the numbered stream.
    fn observe(&mut self, _seen: &Seen<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A break of a kind that was told before, for sinks that draw.
    fn again(&mut self, _rule: RuleId, _seen: &Seen<'_>) -> io::Result<()> {
        Ok(())
    }

    /// How the run goes right now; shown by sinks that have a place for it.
    fn status(&mut self, _now: &Heartbeat) -> io::Result<()> {
        Ok(())
    }

    /// Whether it takes texts as somebody made them, since its form has escapes of its own. Every other sink is given
    /// messages whose texts are [`rcu_watch_core::shown`].
    fn takes_any_text(&self) -> bool {
        false
    }

    /// Whether whoever looks on has had enough: a run that could go on ends then, and says how it went.
    fn is_left(&self) -> bool {
        false
    }

    /// Set once whoever reads has gone away; `None` where that shows only as an error.
    fn closed(&self) -> Option<Arc<AtomicBool>> {
        None
    }

    /// What was not written because its reader took nothing, since this last had an answer and once the reader goes on.
    fn newly_dropped(&mut self) -> Option<OutputDropped> {
        None
    }

    /// All of that.
    fn dropped(&self) -> OutputDropped {
        OutputDropped::default()
    }

    /// The run is over: no more messages will come.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
