//! The books: what became of each hit, by CPU and probe.
//!
//! `hits = at_rest + unstable + emitted`, and `emitted = delivered + lost`, exactly. `delivered` is counted
//! by the reader; all others by the probe, before it returns.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Counters of one probe on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProbeCounters {
    /// Runs of the program.
    pub hits: u64,
    /// Runs that found the state the probe expects and sent nothing.
    pub at_rest: u64,
    /// Runs dropped because S moved while it was read, or because the state could not be read.
    pub unstable: u64,
    /// Runs that tried to send a record.
    pub emitted: u64,
    /// Records for which the ring buffer had no room.
    pub lost: u64,
}
