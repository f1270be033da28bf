//! How far an audit is, with the time that is left: in place on a terminal, a line a phase elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use rcu_watch_core::shown::shown;

use crate::outlet;

const BAR: usize = 24;

pub(crate) struct Progress {
    command: &'static str,
    /// Columns, where standard error is a terminal.
    columns: Option<usize>,
    shown: bool,
    phase: String,
    started: Instant,
    /// About how long everything after this phase will take.
    then: Duration,
}

impl Progress {
    /// Of `audit` or `check`.
    #[must_use]
    pub(crate) fn new(command: &'static str) -> Self {
        let columns = io::stderr().is_terminal().then(|| {
            terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
        });
        Self {
            command,
            columns,
            shown: false,
            phase: String::new(),
            started: Instant::now(),
            then: Duration::ZERO,
        }
    }

    /// Begins a phase; `then` is what will be left after it.
    pub(crate) fn phase(&mut self, phase: &str, then: Duration) {
        phase.clone_into(&mut self.phase);
        self.then = then;
        self.started = Instant::now();
        if self.columns.is_none() {
            outlet::say(&format!("{}: {phase}\n", self.command));
        }
    }

    /// `done` of `all` steps of the phase.
    pub(crate) fn show(&mut self, done: u64, all: u64, note: &str) {
        let Some(columns) = self.columns else { return };
        let line = line(&self.phase, done, all, self.started.elapsed(), self.then, note);
        let line: String = shown(&line).chars().take(columns.saturating_sub(1)).collect();
        outlet::say(&format!("\r\x1b[K{line}"));
        self.shown = true;
    }

    /// Before anything else is printed.
    pub(crate) fn wipe(&mut self) {
        if std::mem::take(&mut self.shown) {
            outlet::say("\r\x1b[K");
        }
    }
}

/// `[======------] 25 % 1/2 tracing, 00:42 left; 12 suspects`
fn line(phase: &str, done: u64, all: u64, took: Duration, then: Duration, note: &str) -> String {
    let (done, all) = (done.min(all.max(1)), all.max(1));
    let part = done as f64 / all as f64;
    let filled = (part * BAR as f64) as usize;
    let left = if done == 0 {
        "--:--".to_owned()
    } else {
        let rest = took.as_secs_f64() * (1.0 - part) / part;
        let seconds = (rest + then.as_secs_f64()).round() as u64;
        format!("{:02}:{:02}", seconds / 60, seconds % 60)
    };
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    let bar = format!("{}{}", "=".repeat(filled), "-".repeat(BAR - filled));
    format!("[{bar}] {:3.0} % {phase}, {left} left{note}", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_this_phase_and_of_what_follows() {
        let shown = line("tracing", 5, 20, Duration::from_secs(10), Duration::from_secs(60), "3 suspects");
        assert_eq!(shown, "[======------------------]  25 % tracing, 01:30 left; 3 suspects");
    }

    #[test]
    fn nothing_is_promised_before_the_first_step_and_none_passes_the_end() {
        assert!(line("x", 0, 9, Duration::ZERO, Duration::ZERO, "").contains("--:-- left"));
        assert!(line("x", 12, 9, Duration::from_secs(1), Duration::ZERO, "").contains("100 % x, 00:00 left"));
        assert!(line("x", 0, 0, Duration::ZERO, Duration::ZERO, "").contains("0 %"));
    }
}
