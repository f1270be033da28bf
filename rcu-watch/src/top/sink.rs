//! The sink that feeds the picture, and ends the run when its viewer leaves.

use std::io;
use std::sync::atomic::Ordering;

use rcu_watch_core::report::{Envelope, Heartbeat, Message};
use rcu_watch_core::stream::Seen;
use rcu_watch_core::units::Nanos;

use crate::clock;
use crate::sink::Sink;
use crate::top::screen::Screen;
pub use crate::top::shared::Shared;

/// Longer than a record can wait in the ring before the reader looks.
const LAG_NS: u64 = 200_000_000;

/// Feeds the picture while somebody looks; the summary goes to `after`, once the terminal is given back.
pub struct Top {
    shared: Shared,
    after: Box<dyn Sink>,
    /// Taken with the first message: by then signals are caught, and what is refused is said on the terminal as it was.
    screen: Option<Screen>,
}

impl Top {
    #[must_use]
    pub fn new(shared: Shared, after: Box<dyn Sink>) -> Self {
        Self { shared, after, screen: None }
    }
}

impl Sink for Top {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.shared.with(|picture| picture.message(envelope));
        match &envelope.message {
            Message::Header(_) => {
                let cannot = |error| io::Error::other(format!("cannot take the terminal: {error}"));
                self.screen = Some(Screen::open(self.shared.clone(), || false).map_err(cannot)?);
            }
            Message::Summary(_) => {
                self.screen = None;
                return self.after.message(envelope);
            }
            _ => {}
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
        self.screen = None;
        self.after.finish()
    }
}
