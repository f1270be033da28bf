//! `rcu-watch replay`: a recording through the whole pipeline again, on any machine.

use std::fs::File;
use std::io::{self, BufReader, Read};

use anyhow::{Context as _, Result};
use rcu_watch_core::recording::Terms;
use rcu_watch_core::verdict::Exit;

use crate::cli::args::ReplayArgs;
use crate::recording::play;
use crate::sink;

pub(crate) fn run(args: &ReplayArgs) -> Result<Exit> {
    let is_pipe = args.file.as_os_str() == "-";
    let input: Box<dyn Read> = if is_pipe {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let terms = Terms::from(args);
    let stream = sink::stream(&args.into(), terms.fail_on)?;
    let input: Box<dyn Read> = if is_pipe { Box::new(stream.while_heard(input)) } else { input };
    play(input, stream, &terms).with_context(|| format!("cannot replay {}", args.file.display()))
}
