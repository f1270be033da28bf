//! Where and how to say it, for each command that writes a stream.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::cli::word::{self, one_of};
use crate::sink::options::{ColorChoice, Format};

/// Where and how to say it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// text (default), json (one object a line), ktap (for test harnesses)
    #[arg(
        short,
        long,
        default_value = "text",
        value_parser = one_of(word::FORMAT),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub format: Format,
    /// Write there instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// auto (NO_COLOR is honoured), always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        value_parser = one_of(word::COLOR),
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub color: ColorChoice,
    /// Say more: reasons, words as read, the books
    ///
    /// Given twice, the BPF programs of a run also say which hits came to nothing: lost, or the state moved while it was
    /// read.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}
