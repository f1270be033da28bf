//! An earlier list of handlers, from a file that anybody may have written: no line and no file is read without end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rcu_watch_core::report::handler_list::ListedHandlers;

use crate::input::{Limits, Lines};

/// A header of 8,192 CPUs has 40 KiB, and half a million handlers have less than the file may.
const LIMITS: Limits = Limits { line: 1 << 20, file: 256 << 20 };

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
    read_from(BufReader::new(file), LIMITS).map_err(|error| error.context(format!("cannot use {name}")))
}

fn read_from(input: impl BufRead, limits: Limits) -> Result<ListedHandlers> {
    let mut lines = Lines::new(input, limits);
    let listed = ListedHandlers::read(&mut lines);
    match lines.broken {
        Some(broken) => bail!("{broken}, and no list of handlers is so; {REMEDY}"),
        None => Ok(listed?),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(input: impl BufRead) -> String {
        read_from(input, Limits { file: 2 << 20, ..LIMITS }).unwrap_err().to_string()
    }

    #[test]
    fn a_line_or_a_file_without_end_is_refused_before_it_fills_the_memory() {
        let line = refused(BufReader::new(io::repeat(b'x')));
        assert!(line.starts_with("line 1 has more than 1 MiB"), "{line}");
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
