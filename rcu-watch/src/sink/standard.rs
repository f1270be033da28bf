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

/// Says where it could not be written to, and what to do.
pub(super) fn explain(name: &str, error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        // The caller looks for these two.
        ErrorKind::BrokenPipe | ErrorKind::Interrupted => return error,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space there, or name a file elsewhere",
        ErrorKind::FileTooLarge => "raise the limit of a file's size (ulimit -f)",
        _ => "name a file that can be written",
    };
    io::Error::new(error.kind(), format!("cannot write to {name}: {error}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_stays_recognisable() {
        let error = explain("x", io::Error::from_raw_os_error(libc::EPIPE));
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    }
}
