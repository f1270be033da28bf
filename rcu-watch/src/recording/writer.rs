//! Writes a recording while a run is under way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rcu_watch_core::condition::Condition;
use rcu_watch_core::recording::MAGIC;
use rcu_watch_core::recording::frame::{Frame, TooLong, append_record, preamble};
use rcu_watch_core::recording::part::{End, Names, NumberedProbe, Said, Start, What};
use rcu_watch_core::report::Message;
use rcu_watch_core::report::finding::StackFrame;
use rcu_watch_core::units::{CpuId, Nanos};
use serde::Serialize;

use crate::sink::create::create;

/// A recording that is being written.
pub struct Recorder {
    out: Box<dyn Write>,
    /// The frame that is written; reused.
    frame: Vec<u8>,
    /// What the file did not take; told at the end, so that a full disk does not end the watch.
    error: Option<io::Error>,
}

impl Recorder {
    /// Opens a new file, and writes what a recording begins with.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let mut start = Vec::new();
        if fs::metadata(path).is_ok_and(|found| found.is_file()) {
            let before =
                File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
            before.with_context(|| format!("cannot read {}, which is there", path.display()))?;
        }
        if !MAGIC.starts_with(&start) {
            bail!("{} is there and is no recording; name another file", path.display());
        }
        let file = create(path)?;
        Self::new(Box::new(BufWriter::new(file)))
            .with_context(|| format!("cannot write to {}", path.display()))
    }

    /// Records into `out`.
    ///
    /// # Errors
    /// Where it takes nothing.
    pub fn new(mut out: Box<dyn Write>) -> io::Result<Self> {
        out.write_all(&preamble())?;
        Ok(Self { out, frame: Vec::new(), error: None })
    }

    pub fn start(&mut self, start: &Start) {
        self.json(Frame::Start, start);
    }

    /// A record as it came out of the ring.
    pub fn record(&mut self, bytes: &[u8]) {
        self.write(|out| append_record(out, bytes));
    }

    /// A probe that came, or whose handlers changed.
    pub fn probe(&mut self, probe: &NumberedProbe) {
        self.json(Frame::Probe, probe);
    }

    /// A message of the stream; those that records make again are left out.
    pub fn said(&mut self, ts_ns: Nanos, cpu: Option<CpuId>, message: &Message) {
        if let Some(what) = What::of(message) {
            self.json(Frame::Said, &Said { ts_ns, cpu, what });
        }
    }

    /// What a look found, whether it is told or only counted.
    pub fn condition(&mut self, ts_ns: Nanos, condition: Condition) {
        let what = What::Condition(Box::new(condition));
        self.json(Frame::Said, &Said { ts_ns, cpu: None, what });
    }

    /// Names of a stack, ahead of its record.
    pub fn names(&mut self, stack: &[StackFrame]) {
        let names: BTreeMap<u64, String> =
            stack.iter().filter_map(|frame| Some((frame.address?.0, frame.symbol.clone()?))).collect();
        if !names.is_empty() {
            self.json(Frame::Names, &Names(names));
        }
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// Where the file did not take all of it.
    pub fn end(mut self, end: &End) -> Result<()> {
        self.json(Frame::End, end);
        let flushed = self.out.flush();
        self.error
            .map_or(flushed, Err)
            .context("the recording is not complete; free some space and record again")
    }

    fn json(&mut self, frame: impl Fn(Vec<u8>) -> Frame, part: &impl Serialize) {
        match serde_json::to_vec(part) {
            Ok(payload) => self.frame(&frame(payload)),
            Err(error) => self.error = self.error.take().or_else(|| Some(error.into())),
        }
    }

    fn frame(&mut self, frame: &Frame) {
        self.write(|out| frame.append(out));
    }

    fn write(&mut self, append: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>) {
        if self.error.is_some() {
            return;
        }
        self.frame.clear();
        let appended =
            append(&mut self.frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
        self.error = appended.and_then(|()| self.out.write_all(&self.frame)).err();
    }
}
