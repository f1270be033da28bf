//! NDJSON: one object a line, each flushed, nothing else on this output.
//!
//! docs/json.md is the contract and docs/schema.json its schema; both follow the types of [`crate::report`].

use std::io::{self, Write};

use crate::report::Envelope;
use crate::sink::Sink;

pub struct Json<W> {
    out: W,
    /// A whole line, so that a reader never sees half of one; reused.
    line: Vec<u8>,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::with_capacity(4096) }
    }
}

impl<W: Write> Sink for Json<W> {
    fn message(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, envelope)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
