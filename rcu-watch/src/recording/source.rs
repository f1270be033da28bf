//! A reader as the source of a recording.

use std::io::{self, Read};

use rcu_watch_core::recording::{Source, SourceError};

/// Reads a recording's bytes from a file or a pipe.
pub struct FileSource<R>(pub R);

impl<R: Read> Source for FileSource<R> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            match self.0.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return Ok(read?),
            }
        }
    }
}
