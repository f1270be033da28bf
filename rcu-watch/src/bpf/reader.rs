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
    /// Memory of the buffers.
    bytes: usize,
}

/// What came of taking records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drained {
    pub records: usize,
    /// Not all buffers were seen empty.
    pub more: bool,
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
    /// `bytes` is the memory of the ring.
    pub(super) fn ring(ring: RingBuf<MapData>, bytes: usize) -> Self {
        Self::new(Source::Ring(ring), bytes)
    }

    /// `bytes` is the memory of all buffers.
    pub(super) fn perf(events: MapData, buffers: Vec<Sampler>, bytes: usize) -> Self {
        Self::new(Source::Perf(Buffers { _events: events, buffers, refused: 0 }), bytes)
    }

    const fn new(source: Source, bytes: usize) -> Self {
        Self { source, kept: Vec::new(), bytes }
    }

    /// Takes what CPUs kept to themselves to the very end, for [`Self::drain`] to hand out last.
    pub(crate) fn take_kept(&mut self, kept: Vec<SnapshotRecord>) {
        self.kept = kept;
    }

    /// Hands `most` records or some more to `take`: each CPU's records come in the order in which that CPU
    /// wrote them.
    pub(crate) fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> Drained {
        let mut drained = match &mut self.source {
            Source::Ring(ring) => {
                let mut records = 0;
                while records < most {
                    let Some(record) = ring.next() else { break };
                    take(&record);
                    records += 1;
                }
                Drained { records, more: records >= most }
            }
            Source::Perf(buffers) => buffers.drain(most, &mut take),
        };
        if !drained.more {
            drained.records += self.kept.len();
            self.kept.drain(..).for_each(|record| take(record.as_bytes()));
        }
        drained
    }

    /// As many records as the buffers can hold: who takes so many has all that was there when it began, whatever comes
    /// meanwhile.
    #[must_use]
    pub(crate) const fn room(&self) -> usize {
        self.bytes / size_of::<SnapshotRecord>() + 1
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

    /// Memory of the buffers that records come through.
    #[must_use]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes as u64
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
    fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> Drained {
        let Self { buffers, refused, .. } = self;
        let mut records = 0;
        let more = by_shares(buffers, most, |buffer| {
            let Some(event) = buffer.next_record() else { return false };
            let data = event.to_contiguous();
            match event.ty() {
                SAMPLE => {
                    records += 1;
                    take(record(&data));
                }
                LOST => *refused += lost(&data),
                _ => {}
            }
            true
        });
        Drained { records, more }
    }
}

/// Takes from each buffer up to its share of `most`; whether one may have more. `take_one` says whether there was one.
fn by_shares<B>(buffers: &mut [B], most: usize, mut take_one: impl FnMut(&mut B) -> bool) -> bool {
    let share = most.div_ceil(buffers.len().max(1));
    let mut more = false;
    for buffer in buffers {
        more |= (0..share).all(|_| take_one(buffer));
    }
    more
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
    fn one_busy_buffer_among_many_is_not_taken_for_empty() {
        let mut buffers = vec![0_u32; 64];
        buffers[7] = 1000;
        let mut take = |left: &mut u32| left.checked_sub(1).map(|rest| *left = rest).is_some();
        let turns = (1..100).find(|_| !by_shares(&mut buffers, 4096, &mut take));
        // 64 of them a turn.
        assert_eq!((turns, buffers.iter().sum::<u32>()), (Some(16), 0));
        assert!(!by_shares(&mut buffers, 4096, &mut take));
    }

    #[test]
    fn lost_records_are_counted() {
        let words = [7u64.to_ne_bytes(), 12u64.to_ne_bytes()].concat();
        assert_eq!(lost(&words), 12);
        assert_eq!(lost(&words[..8]), 0);
    }
}
