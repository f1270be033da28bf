//! Files of others, read line by line: no line and no file is read without end, and where a limit is met it is said.
//!
//! What is read comes from whoever wrote the file, or from a device that never ends.

use std::io::{self, BufRead, Read as _};

/// What one line and all of them may have, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub line: u64,
    pub file: u64,
}

impl Limits {
    /// Of a stream that a run wrote. The summary of a large machine has some ten million bytes.
    pub(crate) const STREAM: Self = Self { line: 64 << 20, file: 1 << 30 };
}

/// Why there is no more line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("line {0} has more than {1} MiB")]
    LongLine(u64, u64),
    #[error("the file has more than {0} MiB")]
    LongFile(u64),
    #[error("line {0} is no text")]
    NoText(u64),
}

/// The lines of a file, up to its end or to the first that cannot be had.
pub(crate) struct Lines<R> {
    input: R,
    limits: Limits,
    /// Bytes that may still come.
    left: u64,
    number: u64,
    line: Vec<u8>,
    /// Why there are no more, where it is not the end.
    pub broken: Option<LineError>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) const fn new(input: R, limits: Limits) -> Self {
        Self { input, limits, left: limits.file, number: 0, line: Vec::new(), broken: None }
    }

    /// The next line with its end; `None` behind the last.
    fn next_bytes(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.line.clear();
        self.number += 1;
        let room = self.limits.line.min(self.left);
        // One byte more than there is room for tells a line that is too long from one that just fits.
        let read = self.input.by_ref().take(room + 1).read_until(b'\n', &mut self.line)? as u64;
        if read > room {
            return Err(if room < self.limits.line {
                LineError::LongFile(self.limits.file >> 20)
            } else {
                LineError::LongLine(self.number, self.limits.line >> 20)
            });
        }
        self.left -= read;
        Ok((read > 0).then_some(&self.line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.broken.is_some() {
            return None;
        }
        let number = self.number + 1;
        let line = self.next_bytes().and_then(|line| {
            let line = line.map(|line| str::from_utf8(line).map(str::to_owned));
            line.transpose().map_err(|_| LineError::NoText(number))
        });
        line.unwrap_or_else(|error| {
            self.broken = Some(error);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    const LIMITS: Limits = Limits { line: 1 << 20, file: 2 << 20 };

    fn broken(input: impl BufRead) -> String {
        let mut lines = Lines::new(input, LIMITS);
        lines.by_ref().for_each(drop);
        lines.broken.map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_line_or_a_file_without_end_is_refused_before_it_fills_the_memory() {
        assert_eq!(broken(BufReader::new(io::repeat(b'x'))), "line 1 has more than 1 MiB");
        assert_eq!(broken(BufReader::new(io::repeat(b'\n'))), "the file has more than 2 MiB");
    }

    #[test]
    fn what_just_fits_is_read_and_bytes_that_are_no_text_are_told_with_their_line() {
        let line = [&[b'x'; (1 << 20) - 1][..], b"\n"].concat();
        let two = [&line[..], &line].concat();
        let mut lines = Lines::new(&two[..], LIMITS);
        assert_eq!(lines.by_ref().count(), 2);
        assert!(lines.broken.is_none());
        assert_eq!(broken(&b"a\n\xff\n"[..]), "line 2 is no text");
    }
}
