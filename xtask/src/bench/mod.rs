//! `cargo xtask bench`: what rcu-watch costs, against what people would use instead; the figures of
//! docs/performance.md.

mod document;
mod host;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Records per second in user space: to verdicts, to NDJSON, text and Perfetto, and out of a recording
    Host,
}

pub fn bench(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Host => host::run(),
    }
}
