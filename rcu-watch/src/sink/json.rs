//! NDJSON: one object a line, nothing else on this output.
//!
//! A line is flushed as soon as it is there, but for snapshots, which come by the thousand: those wait for the end
//! of their batch. docs/json.md is the contract and docs/schema.json its schema; both follow the types of
//! [`rcu_watch_core::report`].

use std::io::{self, Write};

use rcu_watch_core::report::Envelope;
use rcu_watch_core::rules::Hit;
use serde::Serialize as _;

use crate::sink::{Sink, line};

/// Lines kept back at most, in bytes.
const KEPT: usize = 64 << 10;

pub struct Json<W> {
    out: W,
    /// Whole lines, so that a reader never sees half of one; reused.
    lines: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out, lines: Vec::with_capacity(KEPT + 4096) }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.lines);
        self.lines.clear();
        written
    }
}

impl<W: Write> Sink for Json<W> {
    fn takes_any_text(&self) -> bool {
        true
    }

    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        envelope.serialize(&mut line::serializer(&mut self.lines))?;
        self.lines.push(b'\n');
        self.flush()
    }

    fn snapshot(&mut self, seq: u64, hit: &Hit<'_>, cpu_seq: u64) -> io::Result<()> {
        line::snapshot(&mut self.lines, seq, hit, cpu_seq)?;
        if self.lines.len() >= KEPT { self.write_lines() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_lines()?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.flush()
    }
}
