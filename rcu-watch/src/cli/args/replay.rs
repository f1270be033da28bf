//! `replay`: what of a recording to tell, and when it fails.

use std::path::PathBuf;

use clap::Args;
use rcu_watch_core::RuleId;

use super::output::OutputArgs;
use super::verdict::VerdictArgs;
use super::watch::StreamKind;
use crate::cli::value;

pub(super) const NOTES: &str = "\
Examples:
  rcu-watch replay break.rec --fail-on warning
  rcu-watch replay run.rec --perfetto run.pftrace   draws what `record --stream all` kept";

#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The recording; - is standard input
    pub file: PathBuf,
    /// Report this rule only, by id or name (repeatable)
    #[arg(long, value_name = "RULE", value_parser = value::rule)]
    pub rule: Vec<RuleId>,
    /// `all` adds a record for every snapshot (json only)
    #[arg(long, value_name = "WHAT", default_value = "findings", hide_short_help = true)]
    pub stream: StreamKind,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Write a trace for ui.perfetto.dev as well
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
}
