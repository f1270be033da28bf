//! Recordings as files: written while a run is under way, and played again.
//!
//! What they hold, and how, is in [`rcu_watch_core::recording`].

mod play;
mod source;
mod writer;

pub use play::play;
pub use source::FileSource;
pub use writer::Recorder;
