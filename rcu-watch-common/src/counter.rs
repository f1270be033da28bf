//! The books: what became of each hit, by CPU and probe.
//!
//! `hits = at_rest + turned`, `turned = unstable + emitted`, and `emitted = delivered + lost`, exactly. `delivered`
//! is counted by the reader; all others by the probe, before it returns.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a probe keeps for each CPU: its books, and what it has to know of that CPU, so that a hit looks up one entry.
/// A cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProbeState {
    /// Runs that found the state the probe expects and sent nothing: nearly all, so they are counted once only.
    pub at_rest: u64,
    /// All other runs.
    pub turned: u64,
    /// Runs dropped because S moved while it was read, or because the state could not be read.
    pub unstable: u64,
    /// Runs that tried to send a record.
    pub emitted: u64,
    /// Records for which the ring buffer had no room.
    pub lost: u64,
    /// Address of this CPU's block with S, N and M, or [`UNKNOWN`], or [`UNWATCHED`].
    pub block: u64,
    /// Address of the `rcu_node.qsmaskinitnext` that this CPU has a bit in; 0 until the probe read it.
    pub online_word: u64,
    /// That bit: `rcu_data.grpmask`.
    pub online_bit: u64,
}

/// In place of a block's address: the probe has not run here yet.
pub const UNKNOWN: u64 = 0;
/// In place of a block's address: the probe's hits on this CPU are not counted. The greatest that is no address.
pub const UNWATCHED: u64 = 1;
