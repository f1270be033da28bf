//! The live picture: a run whose output is a terminal, or a recorded one played again.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cli::args::{ColorChoice, ExtraArgs, Format, OutputArgs, StreamKind, TopArgs, WatchArgs};
use crate::cli::exit::Exit;
use crate::commands::watch;
use crate::report::{Baseline, Stream};
use crate::sink;
use crate::top::screen::Screen;
use crate::top::sink::Shared;
use crate::top::{Top, replay};

pub fn run(args: &TopArgs) -> Result<Exit> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("top needs a terminal; `rcu-watch` prints the same to a file or a pipe");
    }
    match &args.replay {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let shared = Shared::default();
            let screen = Screen::open(shared.clone()).context("cannot take the terminal")?;
            let played = replay::play(BufReader::new(file), &shared);
            while played.is_ok() && !shared.quit.load(std::sync::atomic::Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
            }
            screen.close();
            played.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Exit::Clean)
        }
        None => live(args),
    }
}

fn live(args: &TopArgs) -> Result<Exit> {
    let watch = WatchArgs {
        duration: args.duration,
        limit: None,
        rule: Vec::new(),
        self_test: false,
        stream: StreamKind::Findings,
        ring_bytes: None,
        verdict: args.verdict.clone(),
        scope: args.scope.clone(),
        output: OutputArgs { format: Format::Text, output: None, color: ColorChoice::Auto, verbose: 0 },
        extra: ExtraArgs { draw: true, ..ExtraArgs::default() },
        child: Vec::new(),
    };
    let after = sink::open(&watch.output, watch.verdict.fail_on)?;
    let shared = Shared::default();
    let screen = Screen::open(shared.clone()).context("cannot take the terminal")?;
    let top = Top::new(shared, after, || screen.close());
    watch::run_into(&watch, Stream::new(Box::new(top), Baseline::default()))
}
