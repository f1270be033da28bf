//! `top`: what to draw, live or of a recording.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::scope::ScopeArgs;
use super::verdict::VerdictArgs;
use crate::cli::value;

pub(super) const NOTES: &str = "\
Examples:
  rcu-watch top --exposed
  rcu-watch top --replay run.rec    draws what `record --stream all` kept

Keys: q quit, space pause, tab or 1-5 panel, up/down CPUs, +/- time, ? help";

#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Show a recording, or a stream of `-f json --stream all`, at its own pace
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Stop after this long: 30s, 5m, 500ms; a bare number is seconds
    #[arg(short, long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
}
