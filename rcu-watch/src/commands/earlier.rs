//! An earlier list of handlers, from a file that anybody may have written: no line and no file is read without end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rcu_watch_core::report::handler_list::ListedHandlers;

/// A header of 8,192 CPUs has 40 KiB.
const LINE: u64 = 1 << 20;
/// Half a million handlers.
const FILE: u64 = 256 << 20;

const REMEDY: &str = "give what `rcu-watch handlers -f json` wrote";

/// The whole list. Where the output would go to the same file, it is refused: it would be gone before it is read again.
pub(super) fn read(path: &Path, output: Option<&Path>) -> Result<ListedHandlers> {
    let name = path.display();
    let file = File::open(path).map_err(|error| anyhow!("cannot open {name}: {error}; {REMEDY}"))?;
    if let (Ok(old), Some(Ok(new))) = (file.metadata(), output.map(fs::metadata))
        && old.is_file()
        && (old.dev(), old.ino()) == (new.dev(), new.ino())
    {
        bail!(
            "{name} is the list to compare with, and the output would replace it; name another file with -o"
        );
    }
    read_from(BufReader::new(file), FILE).map_err(|error| error.context(format!("cannot use {name}")))
}

fn read_from(input: impl BufRead, most: u64) -> Result<ListedHandlers> {
    let mut lines = Lines { input, most, left: most, broken: None };
    let listed = ListedHandlers::read(&mut lines);
    match lines.broken {
        Some(broken) => Err(broken),
        None => Ok(listed?),
    }
}

/// Lines up to the first that cannot be had, and why.
struct Lines<R> {
    input: R,
    /// Bytes of the whole file.
    most: u64,
    left: u64,
    broken: Option<anyhow::Error>,
}

impl<R: BufRead> Lines<R> {
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let room = LINE.min(self.left);
        // One byte more than there is room for tells a line that is too long from one that just fits.
        let read = self.input.by_ref().take(room + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| anyhow!("cannot read it: {error}; {REMEDY}"))? as u64;
        if read > room {
            let what = if room < LINE { "the file" } else { "a line" };
            let most = if room < LINE { self.most } else { LINE } >> 20;
            bail!("{what} has more than {most} MiB, and no list of handlers has; {REMEDY}");
        }
        self.left -= read;
        match String::from_utf8(line) {
            Ok(line) => Ok((read > 0).then_some(line)),
            Err(_) => bail!("it is no text; {REMEDY}"),
        }
    }
}

impl<R: BufRead> Iterator for &mut Lines<R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.line().unwrap_or_else(|error| {
            self.broken = Some(error);
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(input: impl BufRead) -> String {
        read_from(input, 2 << 20).unwrap_err().to_string()
    }

    #[test]
    fn a_line_or_a_file_without_end_is_refused_before_it_fills_the_memory() {
        let line = refused(BufReader::new(io::repeat(b'x')));
        assert!(line.starts_with("a line has more than 1 MiB"), "{line}");
        let blank = refused(BufReader::new(io::repeat(b'\n')));
        assert!(blank.starts_with("the file has more than 2 MiB"), "{blank}");
    }

    #[test]
    fn what_is_no_text_or_no_list_is_refused_with_what_to_give() {
        for input in [&b"\xff\n"[..], b"no break\n"] {
            let error = refused(input);
            assert!(error.ends_with(REMEDY) || error.contains("; give what"), "{error}");
        }
        assert!(refused(io::empty()).contains("does not begin with a header"));
    }
}
