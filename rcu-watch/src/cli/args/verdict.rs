//! What counts, for each command that has findings.

use std::path::PathBuf;

use clap::Args;
use rcu_watch_core::verdict::FailOn;

use crate::cli::word::{self, one_of};

/// What counts.
#[derive(Args, Clone, Debug)]
pub struct VerdictArgs {
    /// Exit 2 from this severity on: info, warning, error (default), never
    #[arg(
        long,
        value_name = "SEVERITY",
        default_value = "error",
        value_parser = one_of(word::FAIL_ON),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub fail_on: FailOn,
    /// Let findings that are in this earlier NDJSON not count
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub baseline: Option<PathBuf>,
}

/// What counts for a command that looks for exposed functions: these are warnings, and what was asked for.
#[derive(Args, Clone, Debug)]
pub struct StrictVerdictArgs {
    /// Exit 2 from this severity on: info, warning (default), error, never
    #[arg(
        long,
        value_name = "SEVERITY",
        default_value = "warning",
        value_parser = one_of(word::FAIL_ON),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub fail_on: FailOn,
    /// Let findings that are in this earlier NDJSON not count
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
}
