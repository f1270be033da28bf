//! Plays the steps of the plan: starts commands, carries their output to the host as it comes, waits, ends.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xtask::plan::Step;
use xtask::wire::{Exit, Kind};

use crate::channel::Channel;
use crate::machine;

const POLL: Duration = Duration::from_millis(20);

/// A command that was started and has not been waited for.
struct Running {
    child: Child,
    pumps: Vec<JoinHandle<()>>,
    /// What it has printed so far, for `Await`.
    printed: Arc<Mutex<Vec<u8>>>,
}

pub(crate) struct Player {
    channel: Channel,
    running: HashMap<String, Running>,
}

impl Player {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, running: HashMap::new() }
    }

    pub(crate) fn play(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Scenario { name } => self.channel.send(Kind::Scenario, &name, b""),
            Step::Run { label, limit, argv } => {
                self.start(&label, &argv)?;
                self.wait(&label, limit)?;
            }
            Step::Spawn { label, argv } => self.start(&label, &argv)?,
            Step::Await { label, text, times, limit } => self.await_text(&label, &text, times, limit)?,
            Step::Signal { label, signal } => machine::kill(self.find(&label)?.child.id(), signal)?,
            Step::Wait { label, limit } => self.wait(&label, limit)?,
            Step::Sleep { time } => thread::sleep(time),
            Step::LoadModule { name, params } => machine::load_module(&name, &params)?,
            Step::UnloadModule { name } => machine::unload_module(&name)?,
            Step::WriteFile { path, value } => fs::write(&path, value).map_err(|e| format!("{path}: {e}"))?,
            Step::ReadFile { label, path } => {
                let content = fs::read(&path).map_err(|e| format!("{path}: {e}"))?;
                self.channel.send(Kind::File, &label, &content);
            }
            Step::Until { path, value, limit } => until(limit, || content(&path) == value)
                .map_err(|()| format!("{path} is {:?} and not {value:?} after {limit:?}", content(&path)))?,
            Step::Hide { path } => machine::hide(&path)?,
            Step::Unhide { path } => machine::unhide(&path)?,
            Step::Monitor { command } => self.channel.send(Kind::Monitor, &command, b""),
        }
        Ok(())
    }

    fn find(&mut self, label: &str) -> Result<&mut Running, String> {
        self.running.get_mut(label).ok_or_else(|| format!("{label} does not run"))
    }

    fn start(&mut self, label: &str, argv: &[String]) -> Result<(), String> {
        let (program, args) = argv.split_first().ok_or("no command")?;
        let spawned = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                self.channel.send(Kind::Exit, label, Exit::NotStarted.encode().as_bytes());
                return Err(format!("{program}: {error}"));
            }
        };
        let printed = Arc::new(Mutex::new(Vec::new()));
        let mut pumps = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            pumps.push(self.pump(Kind::Stdout, label, pipe, &printed));
        }
        if let Some(pipe) = child.stderr.take() {
            pumps.push(self.pump(Kind::Stderr, label, pipe, &printed));
        }
        self.running.insert(label.to_owned(), Running { child, pumps, printed });
        Ok(())
    }

    fn pump(
        &self,
        kind: Kind,
        label: &str,
        mut pipe: impl Read + Send + 'static,
        printed: &Arc<Mutex<Vec<u8>>>,
    ) -> JoinHandle<()> {
        let (channel, label, printed) = (self.channel.clone(), label.to_owned(), Arc::clone(printed));
        thread::spawn(move || {
            let mut buffer = [0; 16384];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => {
                        channel.send(kind, &label, &buffer[..count]);
                        if let Ok(mut printed) = printed.lock() {
                            printed.extend_from_slice(&buffer[..count]);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        })
    }

    fn await_text(&mut self, label: &str, text: &str, times: usize, limit: Duration) -> Result<(), String> {
        let printed = Arc::clone(&self.find(label)?.printed);
        let text_bytes = text.as_bytes();
        let count = |p: &[u8]| p.windows(text_bytes.len()).filter(|w| *w == text_bytes).count();
        let has_it = || printed.lock().is_ok_and(|p| count(&p) >= times);
        until(limit, has_it)
            .map_err(|()| format!("{label} did not print {text:?} {times} times within {limit:?}"))
    }

    fn wait(&mut self, label: &str, limit: Duration) -> Result<(), String> {
        let mut running = self.running.remove(label).ok_or_else(|| format!("{label} does not run"))?;
        let mut status = None;
        let ended = until(limit, || {
            status = running.child.try_wait().unwrap_or_default();
            status.is_some()
        });
        let exit = match (ended, status) {
            (Ok(()), Some(status)) => exit_of(status),
            _ => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                Exit::TimedOut
            }
        };
        // A grandchild may hold the pipes open for ever: the pumps are given a moment, not awaited.
        let _ = until(Duration::from_secs(2), || running.pumps.iter().all(JoinHandle::is_finished));
        self.channel.send(Kind::Exit, label, exit.encode().as_bytes());
        Ok(())
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

fn content(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Result<(), ()> {
    let end = Instant::now() + limit;
    while !holds() {
        if Instant::now() >= end {
            return Err(());
        }
        thread::sleep(POLL);
    }
    Ok(())
}
