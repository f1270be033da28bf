//! What a person sees while a guest runs: its commands' output as it comes, and that it is alive.
//!
//! The commands' standard output goes to ours and their standard error to ours, byte for byte; the progress line
//! is rewritten in place on a terminal, and is a plain line now and then elsewhere.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use xtask::wire::{Frame, Kind};

use super::console::Event;
use crate::process::on_terminal;

const PLAIN_LINE_EVERY: u64 = 15;

/// Shows one boot.
#[derive(Debug)]
pub(crate) struct Screen {
    what: String,
    /// The commands' output too, and not progress alone.
    pub commands: bool,
    /// The kernel's console too.
    pub kernel: bool,
    booted: bool,
    in_place: bool,
    progress_shown: bool,
    last_line_s: u64,
    /// Begun lines, by stream (standard error or not) and command.
    pending: BTreeMap<(bool, String), Vec<u8>>,
}

impl Screen {
    /// For guests that run beside each other: whole lines only.
    pub(crate) fn plain(what: &str) -> Self {
        Self { in_place: false, ..Self::new(what, false, false) }
    }

    /// `what` names the guest: kernel, accelerator, CPUs.
    pub(crate) fn new(what: &str, commands: bool, kernel: bool) -> Self {
        Self {
            what: what.to_owned(),
            commands,
            kernel,
            booted: false,
            in_place: on_terminal(),
            progress_shown: false,
            last_line_s: 0,
            pending: BTreeMap::new(),
        }
    }

    pub(crate) fn show(&mut self, event: &Event) {
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
                    self.rest();
                    let how = String::from_utf8_lossy(&frame.payload).into_owned();
                    self.line(&format!("xtask: {}: `{}` ended with {how}", self.what, frame.label));
                }
                Kind::Failed => {
                    let why = String::from_utf8_lossy(&frame.payload).into_owned();
                    self.line(&format!("xtask: {}: {}: {why}", self.what, frame.label.replace('\t', " ")));
                }
                Kind::Stdout | Kind::Stderr if self.commands => self.output(frame),
                _ => {}
            },
        }
    }

    pub(crate) fn end(&mut self) {
        self.rest();
        self.clear();
    }

    /// Whole lines, so that two streams do not meet within one.
    fn output(&mut self, frame: &Frame) {
        self.clear();
        let pending = self.pending.entry((frame.kind == Kind::Stderr, frame.label.clone())).or_default();
        pending.extend_from_slice(&frame.payload);
        if let Some(last) = pending.iter().rposition(|byte| *byte == b'\n') {
            let rest = pending.split_off(last + 1);
            print(frame.kind == Kind::Stderr, pending);
            *pending = rest;
        }
    }

    /// What did not end with a line end, when nothing more can come.
    fn rest(&mut self) {
        for ((is_stderr, _), bytes) in std::mem::take(&mut self.pending) {
            print(is_stderr, &bytes);
        }
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

/// A closed pipe of ours does not concern the guest.
fn print(to_stderr: bool, bytes: &[u8]) {
    let _ = if to_stderr {
        io::stderr().write_all(bytes)
    } else {
        io::stdout().write_all(bytes).and_then(|()| io::stdout().flush())
    };
}
