//! What one message writes to both streams, until all of it is handed over at once.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use super::queue::{Class, Lane, Parcel, Queue};

type Pieces = Rc<RefCell<Vec<(Lane, Vec<u8>)>>>;

/// Keeps what was written to its [`Inlet`]s, in order.
#[derive(Default)]
pub(crate) struct Wrap(Pieces);

/// A stream, to whoever writes.
pub(crate) struct Inlet {
    lane: Lane,
    pieces: Pieces,
}

impl Wrap {
    pub(crate) fn inlet(&self, lane: Lane) -> Inlet {
        Inlet { lane, pieces: self.0.clone() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Hands over what was written, as so many messages.
    ///
    /// # Errors
    /// Those of [`Queue::push`].
    pub(crate) fn hand_over(&self, queue: &Queue, class: Class, messages: u64) -> io::Result<()> {
        let mut pieces = std::mem::take(&mut *self.0.borrow_mut()).into_iter().peekable();
        while let Some((lane, bytes)) = pieces.next() {
            // Ahead of its last piece a message wipes the status line, or says on one stream what it says on both.
            let messages = if pieces.peek().is_none() { messages } else { 0 };
            queue.push(Parcel { lane, class, messages, bytes })?;
        }
        Ok(())
    }
}

impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pieces = self.pieces.borrow_mut();
        match pieces.last_mut() {
            Some((lane, piece)) if *lane == self.lane => piece.extend_from_slice(bytes),
            _ => pieces.push((self.lane, bytes.to_vec())),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
