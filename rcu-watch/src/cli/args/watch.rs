//! `watch`: what a run may be told beside where to look and how to say it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rcu_watch_core::RuleId;

use super::output::OutputArgs;
use super::scope::ScopeArgs;
use super::verdict::VerdictArgs;
use crate::cli::value;
use crate::session::options::MAX_OVERHEAD;

#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Stop after this long: 30s, 5m, 500ms; a bare number is seconds
    #[arg(short, long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    /// Stop after this many findings, repeats not counted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true)]
    pub limit: Option<u64>,
    /// Report this rule only, by id or name (repeatable)
    #[arg(long, value_name = "RULE", value_parser = value::rule, hide_short_help = true)]
    pub rule: Vec<RuleId>,
    /// Send one finding marked synthetic through the whole pipeline
    #[arg(long)]
    pub self_test: bool,
    /// `all` adds a record for every snapshot (json only)
    #[arg(long, value_name = "WHAT", default_value = "findings", hide_short_help = true)]
    pub stream: StreamKind,
    /// Size of the ring buffer: a power of two of whole pages
    #[arg(long, value_name = "SIZE", value_parser = value::ring_bytes, hide_short_help = true)]
    pub ring_bytes: Option<u32>,
    /// Give up the dearest probes for a while where the programs take more of a CPU's time
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = MAX_OVERHEAD,
        value_parser = value::percent,
        hide_short_help = true
    )]
    pub max_overhead: f64,
    /// Tell a livepatch transition that takes longer than this (RW018)
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = value::duration, hide_short_help = true)]
    pub stall_after: Duration,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub extra: ExtraArgs,
    /// Watch while this command runs
    #[arg(last = true, value_name = "CMD", help_heading = "Options", hide_short_help = true)]
    pub child: Vec<OsString>,
}

/// What else may listen.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct ExtraArgs {
    /// Write a trace for ui.perfetto.dev as well
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub perfetto: Option<PathBuf>,
    /// Serve OpenMetrics text there: a port of the loopback device, or ADDRESS:PORT
    #[arg(long, value_name = "ADDR", value_parser = value::listen, hide_short_help = true)]
    pub metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamKind {
    Findings,
    All,
}
