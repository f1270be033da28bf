//! `audit`: what to look for exposed functions in, and how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::output::OutputArgs;
use super::verdict::StrictVerdictArgs;
use crate::cli::value::{self, CpuList};
use crate::cli::word::{self, one_of};
use crate::kernel::plan::glob::Glob;

pub(super) const NOTES: &str = "\
Says first what it will do to this machine and asks; without a terminal it needs --yes.

Examples:
  rcu-watch audit --function 'acpi_*' --resume audit.state
  rcu-watch audit --yes -f names > deny.txt      # what not to hook here, and why
  rcu-watch audit --yes -f retsnoop > deny.globs; retsnoop -c bpf -d @deny.globs
  rcu-watch audit --yes -f json | jq -r 'select(.data.verdict == \"exposed\") | .data.function'

Exit codes: 0 none exposed, 1 error, 2 some are, 3 inconclusive, 4 not supported here";

#[derive(Args, Clone, Debug)]
#[command(mut_arg("format", |format| {
    format.value_parser(one_of(word::AUDIT_FORMAT)).help("text (default), json, ktap, names (a deny list), retsnoop (names alone)")
}))]
pub struct AuditArgs {
    /// Trace all functions this long
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    pub duration: Duration,
    /// Audit functions that match only; * and ? stand for any (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    /// On these CPUs only: 0-3,8
    #[arg(short, long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Do not ask: this machine may bear the cost
    #[arg(short, long)]
    pub yes: bool,
    /// Keep what is done in FILE; if it is there, go on from it
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub verdict: StrictVerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
