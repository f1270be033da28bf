//! Plays a recording from a file or a pipe into a stream.

use std::io::Read;

use anyhow::Result;
use rcu_watch_core::recording::{self, Terms};
use rcu_watch_core::verdict::Exit;

use super::FileSource;
use crate::sink::Stream;

/// Plays all that can be read of a recording.
///
/// # Errors
/// Where nothing of it can be read, or the stream cannot be written. A recording that is cut off or corrupt
/// further on is played up to there, and the run is inconclusive.
pub fn play(input: impl Read, mut stream: Stream, terms: &Terms) -> Result<Exit> {
    let exit = recording::play(FileSource(input), &mut stream, terms)?;
    Ok(stream.finish(exit)?)
}
