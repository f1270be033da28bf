//! The live picture: a run whose output is a terminal, or a recorded one played again.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rcu_watch_core::recording::{MAGIC, Terms};
use rcu_watch_core::report::Baseline;
use rcu_watch_core::verdict::{Exit, FailOn};

use crate::cli::args::TopArgs;
use crate::commands::watch;
use crate::kernel::Request;
use crate::recording::play;
use crate::session::options::WatchOptions;
use crate::sink;
use crate::sink::Stream;
use crate::top::screen::Screen;
use crate::top::sink::Shared;
use crate::top::{Top, replay};

pub(crate) fn run(args: &TopArgs) -> Result<Exit> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("top needs a terminal; `rcu-watch` prints the same to a file or a pipe");
    }
    match &args.replay {
        Some(path) => replayed(path),
        None => live(args),
    }
}

fn replayed(path: &Path) -> Result<Exit> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut input = BufReader::new(file);
    let is_recording = input.fill_buf()?.starts_with(&MAGIC);
    let shared = Shared::default();
    let screen = Screen::open(shared.clone()).context("cannot take the terminal")?;
    let played = if is_recording {
        let stream = Stream::new(Box::new(replay::Paced::new(shared.clone())), Baseline::default());
        play(input, stream, &Terms { fail_on: FailOn::Never, ..Terms::default() }).map(drop)
    } else {
        replay::play(input, &shared).map_err(Into::into)
    };
    // The last picture stays until the viewer has seen enough.
    while played.is_ok() && !shared.quit.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
    }
    let left = shared.quit.load(Ordering::Relaxed);
    screen.close();
    match played {
        Err(error) if !left => Err(error.context(format!("cannot replay {}", path.display()))),
        _ => Ok(Exit::Clean),
    }
}

fn live(args: &TopArgs) -> Result<Exit> {
    let options = WatchOptions::from(args);
    let after = sink::open(&options.output, options.fail_on)?;
    let shared = Shared::default();
    let screen = Screen::open(shared.clone()).context("cannot take the terminal")?;
    let top = Top::new(shared, after, || screen.close());
    watch::run_into(&Request::from(&args.scope), &options, Stream::new(Box::new(top), Baseline::default()))
}
