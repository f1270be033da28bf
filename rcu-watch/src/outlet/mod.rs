//! Standard output and standard error, each behind a bounded queue with a writer of its own.
//!
//! A reader that stops (a pager, a full pipe) must not stop a run: its probes would stay attached, and nobody would
//! answer `-d` or a signal. While something is attached ([`live`]) nobody waits for a reader, and what finds no room is
//! counted; else output waits as a pipe does, until a signal comes ([`hurry`]). Nothing is written here before
//! [`queue`] was asked for, which starts the two threads.

mod queue;
mod wrap;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use queue::{Class, Lane, Parcel, Queue};
pub(crate) use wrap::Wrap;

/// The last words of a process that is to end.
const LAST: Duration = Duration::from_secs(1);

static QUEUE: Mutex<Option<Arc<Queue>>> = Mutex::new(None);

fn started() -> Option<Arc<Queue>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The queue of this process, started where it was not.
///
/// # Errors
/// Where there can be no more threads or descriptors.
pub(crate) fn queue() -> io::Result<Arc<Queue>> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(queue) = &*queue {
        return Ok(queue.clone());
    }
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let error = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    Ok(queue.insert(Queue::start(output, error)?).clone())
}

/// Something is attached for as long as this is held: nobody waits for a reader.
#[must_use]
pub(crate) struct Live(Option<Arc<Queue>>);

/// See [`Live`].
pub(crate) fn live() -> Live {
    let queue = started();
    if let Some(queue) = &queue {
        queue.set_live();
    }
    Live(queue)
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.set_dead();
        }
    }
}

/// A signal came: the end does not wait for a reader any more than a second.
pub(crate) fn hurry() {
    if let Some(queue) = started() {
        queue.hurry();
    }
}

/// Says something in passing on standard error: whoever does not hear it misses nothing.
pub(crate) fn say(text: &str) {
    let bytes = text.as_bytes().to_vec();
    // Standard error may be gone: nothing hangs on it.
    let _ = match started() {
        Some(queue) => queue.push(Parcel { lane: Lane::Error, class: Class::Passing, messages: 0, bytes }),
        None => io::stderr().write_all(&bytes),
    };
}

/// What a process has to say on standard error before it ends.
pub fn last_words(line: String) {
    match started() {
        Some(queue) => queue.last_words(line, LAST),
        None => {
            // If standard error is closed, there is nobody left to tell.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}
