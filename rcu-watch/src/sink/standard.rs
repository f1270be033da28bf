//! The standard streams of this process, whose readers may be gone.

use std::io::{self, ErrorKind, Write};

/// Standard error. What it does not take is nobody's to hear: no verdict hangs on it, and no run ends for it.
pub(crate) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        heard(io::stderr().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        heard(io::stderr().flush(), ())
    }
}

fn heard<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() != ErrorKind::Interrupted => Ok(all),
        written => written,
    }
}

/// Prints a page that has no verdict: a reader that closes the pipe has seen as much of it as it wanted.
///
/// # Errors
/// Those of standard output but that.
pub(crate) fn print(page: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(page).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
