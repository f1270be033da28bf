//! Takes records out of EVENTS: the ring buffer, or the buffer of each CPU where the kernel has none.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{MapData, RingBuf};
use perf_event::Sampler;
use rcu_watch_common::record::{RecordHeader, SnapshotRecord};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The consumer's end of EVENTS.
pub(crate) struct Reader {
    source: Source,
    /// What comes when the source is empty.
    kept: Vec<SnapshotRecord>,
    bytes: u64,
}

enum Source {
    Ring(RingBuf<MapData>),
    Perf(Buffers),
}

/// The perf buffers of all CPUs.
struct Buffers {
    /// Keeps the map: closing it would take the buffers out.
    _events: MapData,
    buffers: Vec<Sampler>,
    /// Records that found no room, by what perf says of them.
    refused: u64,
}

impl Reader {
    pub(super) fn ring(ring: RingBuf<MapData>) -> Self {
        Self::new(Source::Ring(ring))
    }

    pub(super) fn perf(events: MapData, buffers: Vec<Sampler>) -> Self {
        Self::new(Source::Perf(Buffers { _events: events, buffers, refused: 0 }))
    }

    const fn new(source: Source) -> Self {
        Self { source, kept: Vec::new(), bytes: 0 }
    }

    /// Takes what CPUs kept to themselves to the very end, for [`Self::drain`] to hand out last.
    pub(crate) fn take_kept(&mut self, kept: Vec<SnapshotRecord>) {
        self.kept = kept;
    }

    /// Hands `most` records or some more to `take`: each CPU's records come in the order in which that CPU
    /// wrote them. Returns how many there were.
    pub(crate) fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let bytes = &mut self.bytes;
        let mut counted = |record: &[u8]| {
            *bytes += record.len() as u64;
            take(record);
        };
        let mut count = 0;
        match &mut self.source {
            Source::Ring(ring) => {
                while count < most {
                    let Some(record) = ring.next() else { break };
                    counted(&record);
                    count += 1;
                }
            }
            Source::Perf(buffers) => count = buffers.drain(most, &mut counted),
        }
        if count < most {
            count += self.kept.len();
            self.kept.drain(..).for_each(|record| counted(record.as_bytes()));
        }
        count
    }

    /// A descriptor that becomes readable when a program wakes the reader; `None` where there are many, and
    /// the reader looks by itself.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub(crate) fn ring_fd(&self) -> io::Result<Option<OwnedFd>> {
        match &self.source {
            Source::Ring(ring) => ring.as_fd().try_clone_to_owned().map(Some),
            Source::Perf(_) => Ok(None),
        }
    }

    /// Bytes of records taken so far.
    #[must_use]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that perf itself says found no room: a cross-check of the programs' own count, which has each of
    /// them already.
    #[must_use]
    pub(crate) const fn refused(&self) -> Option<u64> {
        match &self.source {
            Source::Ring(_) => None,
            Source::Perf(buffers) => Some(buffers.refused),
        }
    }
}

impl Buffers {
    fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let share = most.div_ceil(self.buffers.len().max(1));
        let mut count = 0;
        for buffer in &mut self.buffers {
            for _ in 0..share {
                let Some(event) = buffer.next_record() else { break };
                let data = event.to_contiguous();
                match event.ty() {
                    SAMPLE => {
                        count += 1;
                        take(record(&data));
                    }
                    LOST => self.refused += lost(&data),
                    _ => {}
                }
            }
        }
        count
    }
}

/// `PERF_RECORD_LOST` and `PERF_RECORD_SAMPLE` of include/uapi/linux/perf_event.h.
const LOST: u32 = 2;
const SAMPLE: u32 = 9;

/// The record in a raw sample: `{ u32 size; char data[size]; }`, filled up at its end. Of something that is no
/// record, all that is there.
fn record(sample: &[u8]) -> &[u8] {
    let data = sample.get(4..).unwrap_or_default();
    let len =
        RecordHeader::read_from_prefix(data).map_or(usize::MAX, |(header, _)| header.len_bytes as usize);
    data.get(..len).unwrap_or(data)
}

/// `{ u64 id; u64 lost; }`
fn lost(data: &[u8]) -> u64 {
    data.get(8..16).and_then(|lost| lost.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use rcu_watch_common::record::{SnapshotRecord, WIRE_VERSION, kind};
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn a_sample_gives_its_record_without_what_fills_it_up() {
        let header = RecordHeader {
            kind: kind::SNAPSHOT,
            version: WIRE_VERSION,
            len_bytes: size_of::<SnapshotRecord>() as u32,
        };
        let snapshot = SnapshotRecord { header, cpu: 3, ..SnapshotRecord::default() };
        let mut sample = 132u32.to_ne_bytes().to_vec();
        sample.extend_from_slice(snapshot.as_bytes());
        sample.extend_from_slice(&[0xff; 4]);
        assert_eq!(record(&sample), snapshot.as_bytes());
        assert_eq!(record(&sample[..50]), &sample[4..50]);
        assert!(record(&[]).is_empty());
    }

    #[test]
    fn lost_records_are_counted() {
        let words = [7u64.to_ne_bytes(), 12u64.to_ne_bytes()].concat();
        assert_eq!(lost(&words), 12);
        assert_eq!(lost(&words[..8]), 0);
    }
}
