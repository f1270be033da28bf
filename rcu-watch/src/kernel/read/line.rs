//! Reads the kernel's line-oriented files as a stream: some have 200,000 lines, and none is kept.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

const BUFFER_BYTES: usize = 64 * 1024;

/// Calls `line` with each line of `source`, without its end, until it says to stop. Lines that are not UTF-8
/// (the kernel writes none) are skipped.
///
/// # Errors
/// That of the read.
pub(crate) fn each_line(source: impl Read, mut line: impl FnMut(&str) -> ControlFlow<()>) -> io::Result<()> {
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    let mut bytes = Vec::with_capacity(256);
    loop {
        bytes.clear();
        if source.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        if let Ok(text) = std::str::from_utf8(&bytes)
            && line(text.trim_end_matches(['\n', '\r'])).is_break()
        {
            return Ok(());
        }
    }
}

/// [`each_line`] over the file at `path`.
///
/// # Errors
/// Those of opening and reading.
pub(crate) fn each_line_of(path: &Path, line: impl FnMut(&str) -> ControlFlow<()>) -> io::Result<()> {
    each_line(File::open(path)?, line)
}

/// The first line of the file at `path`, trimmed.
///
/// # Errors
/// Those of opening and reading.
pub(crate) fn first_line(path: &Path) -> io::Result<String> {
    let mut first = String::new();
    each_line_of(path, |line| {
        first = line.trim().to_owned();
        ControlFlow::Break(())
    })?;
    Ok(first)
}
