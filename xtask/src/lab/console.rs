//! One boot: what the guest says, as events while it runs and as a record when it is over.
//!
//! A thread reads the kernel's console, another PID 1's frames; this one decides. A hang is the scenario's to
//! define, so the only limit here is the sum of the plan's own limits and the time to boot.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xtask::wire::{Decoder, Exit, Frame, Kind};

use super::monitor::Monitor;
use super::qemu::Qemu;

const PANIC: &str = "Kernel panic - not syncing";
/// The rest of a panic's text, and QEMU's own end.
const AFTER_PANIC: Duration = Duration::from_secs(20);
/// From [`Event::Tick`] to the next while the guest is silent.
const TICK: Duration = Duration::from_secs(1);

/// What is shown live.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A line of the kernel's console.
    Kernel(&'a str),
    Frame(&'a Frame),
    /// Nothing new; time passes.
    Tick(Duration),
}

/// A command of the plan, as the host saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<Exit>,
}

/// All that one scenario left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScenarioRecord {
    pub name: String,
    pub commands: BTreeMap<String, Output>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Steps that could not be done, each with its reason.
    pub failed: Vec<String>,
    /// What the kernel's console said meanwhile.
    pub kernel: Vec<String>,
    /// To the next scenario's start, or the end.
    pub took: Duration,
}

/// How a boot went.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootRecord {
    /// `uname -r`, once user space was up.
    pub booted: Option<String>,
    pub boot_took: Duration,
    pub scenarios: Vec<ScenarioRecord>,
    /// The console's line, if the kernel panicked.
    pub panic: Option<String>,
    /// PID 1 came to the end of its plan.
    pub done: bool,
    /// Killed at the limit.
    pub hung: bool,
    /// The whole console, for the log.
    pub console: Vec<String>,
}

enum Message {
    Kernel(String),
    Frame(Frame),
    Broken(String),
    /// One of the two ports is at its end; the guest is over when both are.
    Closed,
}

/// Lives with the guest until it ends, is killed at the limit, or panics.
pub(crate) fn follow(mut qemu: Qemu, limit: Duration, mut show: impl FnMut(&Event)) -> Result<BootRecord> {
    let (sender, messages) = channel();
    read_console(&mut qemu, sender.clone())?;
    read_frames(qemu.frames.try_clone()?, sender);
    let mut session = Session::new();
    let outcome = session.run(&messages, limit, &mut qemu.monitor, &mut show);
    let _ = qemu.child.kill();
    let status = qemu.child.wait().context("cannot wait for QEMU")?;
    outcome.with_context(|| format!("the guest's channel broke; QEMU ended with {status}"))?;
    Ok(session.finish())
}

struct Session {
    record: BootRecord,
    start: Instant,
    scenario_start: Instant,
}

impl Session {
    fn new() -> Self {
        let now = Instant::now();
        Self { record: BootRecord::default(), start: now, scenario_start: now }
    }

    fn run(
        &mut self,
        messages: &Receiver<Message>,
        limit: Duration,
        monitor: &mut Monitor,
        show: &mut impl FnMut(&Event),
    ) -> Result<()> {
        let mut end = self.start + limit;
        let mut open = 2;
        while open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            match messages.recv_timeout(left.min(TICK)) {
                Ok(Message::Kernel(line)) => {
                    show(&Event::Kernel(&line));
                    if line.contains(PANIC) && self.record.panic.is_none() {
                        self.record.panic = Some(line.clone());
                        end = end.min(Instant::now() + AFTER_PANIC);
                    }
                    self.scenario().kernel.push(line.clone());
                    self.record.console.push(line);
                }
                Ok(Message::Frame(frame)) => {
                    show(&Event::Frame(&frame));
                    if frame.kind == Kind::Monitor {
                        monitor.play(&frame.label)?;
                    }
                    self.take(frame);
                }
                Ok(Message::Broken(why)) => anyhow::bail!("{why}"),
                Ok(Message::Closed) => open -= 1,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    self.record.hung = self.record.panic.is_none();
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => show(&Event::Tick(self.start.elapsed())),
            }
        }
        Ok(())
    }

    /// The current scenario; one without a name holds what comes before the first.
    fn scenario(&mut self) -> &mut ScenarioRecord {
        if self.record.scenarios.is_empty() {
            self.record.scenarios.push(ScenarioRecord::default());
        }
        let last = self.record.scenarios.len() - 1;
        &mut self.record.scenarios[last]
    }

    fn take(&mut self, frame: Frame) {
        let Frame { kind, label, payload } = frame;
        let text = || String::from_utf8_lossy(&payload).into_owned();
        match kind {
            Kind::Booted => {
                self.record.booted = Some(text());
                self.record.boot_took = self.start.elapsed();
                self.scenario_start = Instant::now();
            }
            Kind::Scenario => {
                self.end_scenario();
                self.record.scenarios.push(ScenarioRecord { name: label, ..Default::default() });
            }
            Kind::Stdout => self.command(label).stdout.extend(payload),
            Kind::Stderr => self.command(label).stderr.extend(payload),
            Kind::Exit => self.command(label).exit = Exit::parse(&text()),
            Kind::File => {
                self.scenario().files.insert(label, payload);
            }
            Kind::Failed => {
                let why = format!("{}: {}", label.replace('\t', " "), text());
                self.scenario().failed.push(why);
            }
            Kind::Monitor => {}
            Kind::Done => self.record.done = true,
        }
    }

    fn command(&mut self, label: String) -> &mut Output {
        self.scenario().commands.entry(label).or_default()
    }

    fn end_scenario(&mut self) {
        let took = self.scenario_start.elapsed();
        self.scenario().took = took;
        self.scenario_start = Instant::now();
    }

    fn finish(mut self) -> BootRecord {
        self.end_scenario();
        self.record
    }
}

fn read_console(qemu: &mut Qemu, sender: Sender<Message>) -> Result<()> {
    let stdout = qemu.child.stdout.take().context("QEMU has no standard output")?;
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(Message::Kernel(text)).is_err() {
                return;
            }
        }
        let _ = sender.send(Message::Closed);
    });
    Ok(())
}

fn read_frames(mut stream: UnixStream, sender: Sender<Message>) {
    thread::spawn(move || {
        let mut decoder = Decoder::default();
        let mut buffer = [0; 65536];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            decoder.push(&buffer[..count]);
            loop {
                let message = match decoder.next_frame() {
                    Ok(Some(frame)) => Message::Frame(frame),
                    Ok(None) => break,
                    Err(error) => Message::Broken(format!("byte {:#04x} where a frame begins", error.0)),
                };
                let broken = matches!(message, Message::Broken(_));
                if sender.send(message).is_err() || broken {
                    return;
                }
            }
        }
        let _ = sender.send(Message::Closed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, label: &str, payload: &[u8]) -> Frame {
        Frame { kind, label: label.into(), payload: payload.into() }
    }

    #[test]
    fn output_belongs_to_the_scenario_that_runs() {
        let mut session = Session::new();
        session.take(frame(Kind::Booted, "", b"6.1.0"));
        for name in ["first", "second"] {
            session.take(frame(Kind::Scenario, name, b""));
            session.take(frame(Kind::Stdout, "watch", b"{\"type\":"));
            session.take(frame(Kind::Stdout, "watch", name.as_bytes()));
            session.take(frame(Kind::Exit, "watch", b"code 2"));
        }
        session.take(frame(Kind::Done, "", b""));
        let record = session.finish();
        assert!(record.done && record.booted.as_deref() == Some("6.1.0"));
        let second = record.scenarios.iter().find(|scenario| scenario.name == "second").unwrap();
        assert_eq!(second.commands["watch"].stdout, b"{\"type\":second");
        assert_eq!(second.commands["watch"].exit, Some(Exit::Code(2)));
    }
}
