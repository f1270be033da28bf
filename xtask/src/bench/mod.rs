//! `cargo xtask bench`: what rcu-watch costs, against what people would use instead; the figures of
//! docs/performance.md.

mod document;
mod guest;
mod host;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Records per second in user space: to verdicts, to NDJSON, text and Perfetto, and out of a recording
    Host,
    /// Instructions per hook, events and start-up in a guest, against bpftrace
    Guest(guest::Guest),
}

pub(crate) fn bench(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Host => host::run(),
        Bench::Guest(guest) => guest::run(guest),
    }
}
