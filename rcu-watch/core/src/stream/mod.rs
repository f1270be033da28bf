//! From what the pipeline says to the messages of a stream, for whoever hears them.
//!
//! [`Audience`] hears: files and terminals in the program, memory in [`crate::recording::judge`]. [`StreamListener`]
//! tells it what the pipeline says of live records and of recorded ones alike, so that the two cannot differ, and
//! asks its [`Host`] for what records do not hold: names of addresses, what a write of S meant, the time.

mod head;
mod listener;

use alloc::vec::Vec;

use crate::finding::{RuleId, Severity};
use crate::report::Message;
use crate::rules::Hit;
use crate::units::{CpuId, Nanos};

pub use crate::seen::Seen;
pub use head::Head;
pub use listener::{Host, Sight, StreamListener};

/// Whoever hears what a run says.
pub trait Audience {
    /// Why it hears nothing any more.
    type Error;

    /// A message of the stream.
    ///
    /// # Errors
    /// Where it cannot be taken.
    fn send(&mut self, ts: Nanos, cpu: Option<CpuId>, message: Message) -> Result<(), Self::Error>;

    /// One record in full, as a message of the stream.
    ///
    /// # Errors
    /// Where it cannot be taken.
    fn snapshot(&mut self, hit: &Hit<'_>, cpu_seq: u64) -> Result<(), Self::Error>;

    /// One record as it came, for whoever draws or counts; no part of the stream.
    ///
    /// # Errors
    /// Where it cannot be taken.
    fn observe(&mut self, _seen: &Seen<'_>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A break of a kind that was told before, for whoever draws; no part of the stream, which counts repeats.
    ///
    /// # Errors
    /// Where it cannot be taken.
    fn again(&mut self, _rule: RuleId, _seen: &Seen<'_>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The worst finding that was sent and is not in the baseline.
    fn worst(&self) -> Option<Severity>;
}

/// What is to be told of all that the pipeline says.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these rules; empty: all.
    pub rules: Vec<RuleId>,
    /// Every record, not only findings.
    pub snapshots: bool,
    /// No finding of any rule.
    pub silent: bool,
}

impl Filter {
    /// Whether findings of this rule are told.
    #[must_use]
    pub fn tells(&self, rule: RuleId) -> bool {
        !self.silent && (self.rules.is_empty() || self.rules.contains(&rule))
    }
}
