//! `rcu-watch replay`: a recording through the whole pipeline again, on any machine.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use rcu_watch_core::recording::Terms;
use rcu_watch_core::verdict::Exit;

use crate::audit::stop::Stop;
use crate::cli::args::ReplayArgs;
use crate::recording::play;
use crate::sink::{self, create};

pub(crate) fn run(args: &ReplayArgs) -> Result<Exit> {
    let is_pipe = args.file.as_os_str() == "-";
    let file = if is_pipe {
        File::from(io::stdin().as_fd().try_clone_to_owned().context("cannot read standard input")?)
    } else {
        File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?
    };
    for output in [&args.output.output, &args.perfetto] {
        create::keep(&args.file, output.as_deref())?;
    }
    let terms = Terms::from(args);
    let stream = sink::stream(&args.into(), terms.fail_on)?;
    let mut stop = Stop::new().context("cannot catch SIGINT and SIGTERM")?;
    let input = UntilAsked { file, stop: &mut stop };
    let input: Box<dyn Read> = if is_pipe { Box::new(stream.while_heard(input)) } else { Box::new(input) };
    match play(BufReader::new(input), stream, &terms) {
        // Nothing was played yet.
        Err(_) if stop.is_asked() => Ok(Exit::Inconclusive.among(terms.codes)),
        played => played.with_context(|| format!("cannot replay {}", args.file.display())),
    }
}

/// A recording that can be read no further once a signal came: a pipe may never end, and our reader may have stopped.
struct UntilAsked<'a> {
    file: File,
    stop: &'a mut Stop,
}

impl Read for UntilAsked<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.wait_for(self.file.as_fd()) {
            return Err(io::Error::other("a signal ended the replay"));
        }
        self.file.read(bytes)
    }
}
