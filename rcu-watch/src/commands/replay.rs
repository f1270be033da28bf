//! `rcu-watch replay`: a recording through the whole pipeline again, on any machine.

use std::fs::File;
use std::io::{self, BufReader, Read};

use anyhow::{Context as _, Result};

use crate::cli::args::{ExtraArgs, ReplayArgs, StreamKind};
use crate::cli::exit::Exit;
use crate::recording::play::{Terms, play};
use crate::session::listener::Filter;
use crate::sink;

pub fn run(args: &ReplayArgs) -> Result<Exit> {
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let terms = Terms {
        fail_on: args.verdict.fail_on,
        filter: Filter { rules: args.rule.clone(), snapshots: args.stream == StreamKind::All },
        format: args.output.format,
    };
    let mut stream = sink::stream(&args.output, &args.verdict)?;
    sink::attach(&mut stream, &ExtraArgs { perfetto: args.perfetto.clone(), ..ExtraArgs::default() })?;
    play(input, stream, &terms).with_context(|| format!("cannot replay {}", args.file.display()))
}
