//! Recordings: raw records in a file, with all that their judgement rests on.
//!
//! A recording holds what the live run had: the kernel as the rules know it, the plan, each record as it came
//! out of the ring, what was lost in between, names for the addresses of findings, and the books at the end.
//! The file is framed ([`frame`]), each frame with a checksum: what is readable before a cut or a fault is kept.

pub mod frame;
mod judge;
pub mod part;
mod play;

pub use frame::{Frame, Frames, Part, ReadError, Source, SourceError};
pub use judge::{Judged, judge};
pub use play::{PlayError, Terms, play};

/// First bytes of every recording.
pub const MAGIC: [u8; 8] = *b"rcuwrec\n";

/// Version of the file's shape as it is written. A reader refuses those that it does not know.
pub const VERSION: u32 = 2;
/// Version of files whose checksum is FNV-1a; read still.
const VERSION_FNV: u32 = 1;

/// Bound of every probe id that a reader takes. No plan has more than [`rcu_watch_common::slot::COUNT`]; later ones may.
/// What is counted for each CPU and probe stays below 64 MiB with it.
pub const PROBES_MAX: u32 = 512;
const _: () = assert!(PROBES_MAX >= rcu_watch_common::slot::COUNT);
