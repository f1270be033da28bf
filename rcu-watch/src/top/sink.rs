//! The sink that feeds the picture, and ends the run when its viewer leaves.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rcu_watch_core::report::{Envelope, Heartbeat, Message};
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::Nanos;

use crate::clock;
use crate::sink::Sink;
use crate::top::picture::Picture;

/// Longer than a record can wait in the ring before the reader looks.
const LAG_NS: u64 = 200_000_000;

/// What the terminal's thread and the run share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    pub picture: Arc<Mutex<Picture>>,
    pub quit: Arc<AtomicBool>,
}

impl Shared {
    pub fn with<T>(&self, look: impl FnOnce(&mut Picture) -> T) -> T {
        look(&mut self.picture.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Feeds the picture while somebody looks; the summary goes to `after`, once the terminal is given back.
pub struct Top {
    shared: Shared,
    after: Box<dyn Sink>,
    restore: Option<Box<dyn FnOnce()>>,
}

impl Top {
    /// `restore` gives the terminal back.
    #[must_use]
    pub fn new(shared: Shared, after: Box<dyn Sink>, restore: impl FnOnce() + 'static) -> Self {
        Self { shared, after, restore: Some(Box::new(restore)) }
    }
}

impl Sink for Top {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.shared.with(|picture| picture.message(envelope));
        if let Message::Summary(_) = &envelope.message {
            if let Some(restore) = self.restore.take() {
                restore();
            }
            return self.after.message(envelope);
        }
        Ok(())
    }

    fn observe(&mut self, seen: &Seen<'_>) -> io::Result<()> {
        self.shared.with(|picture| picture.observe(seen));
        Ok(())
    }

    fn status(&mut self, now: &Heartbeat) -> io::Result<()> {
        let taken = Nanos(clock::now().0.saturating_sub(LAG_NS));
        self.shared.with(|picture| picture.status(taken, now));
        Ok(())
    }

    fn is_left(&self) -> bool {
        self.shared.quit.load(Ordering::Relaxed)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.after.finish()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // A run that failed leaves no summary, but must leave a terminal.
        if let Some(restore) = self.restore.take() {
            restore();
        }
    }
}
