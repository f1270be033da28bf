//! What a person sees while a guest runs: its commands' output as it comes, and that it is alive.
//!
//! The commands' standard output goes to ours and their standard error to ours, byte for byte; the progress line
//! is rewritten in place on a terminal, and is a plain line now and then elsewhere.

use std::io::{self, Write as _};
use std::time::Duration;

use xtask::wire::Kind;

use super::console::Event;
use crate::process::on_terminal;

const PLAIN_LINE_EVERY: u64 = 15;

/// Shows one boot.
#[derive(Debug)]
pub struct Screen {
    what: String,
    /// The commands' output too, and not progress alone.
    pub commands: bool,
    /// The kernel's console too.
    pub kernel: bool,
    booted: bool,
    in_place: bool,
    progress_shown: bool,
    last_line_s: u64,
}

impl Screen {
    /// For guests that run beside each other: whole lines only.
    pub fn plain(what: &str) -> Self {
        Self { in_place: false, ..Self::new(what, false, false) }
    }

    /// `what` names the guest: kernel, accelerator, CPUs.
    pub fn new(what: &str, commands: bool, kernel: bool) -> Self {
        Self {
            what: what.to_owned(),
            commands,
            kernel,
            booted: false,
            in_place: on_terminal(),
            progress_shown: false,
            last_line_s: 0,
        }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Kernel(line) if self.kernel => self.line(&format!("| {line}")),
            Event::Kernel(_) => {}
            Event::Tick(elapsed) => self.progress(*elapsed),
            Event::Frame(frame) => match frame.kind {
                Kind::Booted => {
                    self.booted = true;
                    let release = String::from_utf8_lossy(&frame.payload).into_owned();
                    self.line(&format!("xtask: {}: booted {release}", self.what));
                }
                Kind::Scenario => self.line(&format!("xtask: {}: scenario {}", self.what, frame.label)),
                Kind::Exit if self.commands => {
                    let how = String::from_utf8_lossy(&frame.payload).into_owned();
                    self.line(&format!("xtask: {}: `{}` ended with {how}", self.what, frame.label));
                }
                Kind::Failed => {
                    let why = String::from_utf8_lossy(&frame.payload).into_owned();
                    self.line(&format!("xtask: {}: {}: {why}", self.what, frame.label.replace('\t', " ")));
                }
                Kind::Stdout if self.commands => {
                    self.clear();
                    let _ = io::stdout().write_all(&frame.payload).and_then(|()| io::stdout().flush());
                }
                Kind::Stderr if self.commands => {
                    self.clear();
                    let _ = io::stderr().write_all(&frame.payload);
                }
                _ => {}
            },
        }
    }

    pub fn end(&mut self) {
        self.clear();
    }

    fn progress(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        let doing = if self.booted { "runs" } else { "boots" };
        let text = format!("xtask: {}: {doing}, {seconds} s", self.what);
        if self.in_place {
            // A command that prints has the line; only a silent boot needs a sign of life.
            if !(self.booted && self.commands) {
                eprint!("\r{text}\x1b[K");
                self.progress_shown = true;
            }
        } else if seconds >= self.last_line_s + PLAIN_LINE_EVERY {
            self.last_line_s = seconds;
            eprintln!("{text}");
        }
    }

    fn line(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    fn clear(&mut self) {
        if self.progress_shown {
            eprint!("\r\x1b[K");
            self.progress_shown = false;
        }
    }
}
