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

use crate::audit::stop::Stop;
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
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut input = BufReader::new(file);
    let start = input.fill_buf().with_context(|| format!("cannot read {name}"))?;
    let is_recording = start.starts_with(&MAGIC);
    if !is_recording && !start.starts_with(b"{") {
        bail!("{name} is no recording and no stream of `-f json`; make one with `rcu-watch record`");
    }
    let shared = Shared::default();
    // Before there are threads: a signal ends the picture, and gives the terminal back.
    let mut stop = Stop::new().context("cannot catch SIGINT and SIGTERM")?;
    let screen = Screen::open(shared.clone(), move || stop.is_asked()).context("cannot take the terminal")?;
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
    drop(screen);
    match played {
        Err(error) if !left => Err(error.context(format!("cannot replay {}", path.display()))),
        _ => Ok(Exit::Clean),
    }
}

fn live(args: &TopArgs) -> Result<Exit> {
    let options = WatchOptions::from(args);
    let after = sink::open(&options.output, options.fail_on)?;
    let shared = Shared::default();
    let top = Top::new(shared, after);
    watch::run_into(&Request::from(&args.scope), &options, Stream::new(Box::new(top), Baseline::default()))
}
