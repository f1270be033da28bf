//! Takes records out of the ring buffer.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, RingBuf};

/// The consumer's end of EVENTS.
pub struct Reader {
    ring: RingBuf<MapData>,
    bytes: u64,
}

impl Reader {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, bytes: 0 }
    }

    /// Hands up to `most` records to `take`, in the order in which the programs got room for them: each
    /// CPU's records come in the order in which that CPU wrote them. Returns how many there were.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < most {
            let Some(record) = self.ring.next() else { break };
            self.bytes += record.len() as u64;
            take(&record);
            count += 1;
        }
        count
    }

    /// A descriptor that becomes readable when a program wakes the reader.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn ring_fd(&self) -> io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Bytes of records taken so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}
