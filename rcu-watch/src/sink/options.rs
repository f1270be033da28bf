//! How a command is to say what it has to say.
//!
//! Filled in by the command line, or by a program that has none: what [`Options::default`] says is text on
//! standard output, in colour where that is a terminal.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcu_watch_core::verdict::Codes;

/// Where the messages of a run go, and in what form.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub format: Format,
    /// Written to instead of standard output.
    pub file: Option<PathBuf>,
    pub color: ColorChoice,
    /// How much more to say than usual: 1 adds reasons and books, 2 has the BPF programs log.
    pub verbose: u8,
    /// Earlier NDJSON, whose findings do not count.
    pub baseline: Option<PathBuf>,
    /// A trace for ui.perfetto.dev is written there, too.
    pub perfetto: Option<PathBuf>,
    /// OpenMetrics text is served there, too.
    pub metrics: Option<SocketAddr>,
}

impl Options {
    /// Whether the BPF programs are to say more, on standard error.
    #[must_use]
    pub const fn logs(&self) -> bool {
        self.verbose > 1
    }

    /// Whether standard output carries what a machine reads, so that nothing else may be printed there.
    #[must_use]
    pub fn takes_stdout(&self) -> bool {
        self.format != Format::Text && self.file.is_none()
    }
}

/// What a stream is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// One object a line.
    Json,
    /// For test harnesses.
    Ktap,
    /// An audit as a deny list, each name with its reason.
    Names,
    /// The names alone.
    Retsnoop,
}

impl Format {
    /// Which exit codes its readers know.
    #[must_use]
    pub const fn codes(self) -> Codes {
        match self {
            Self::Text | Self::Json | Self::Names | Self::Retsnoop => Codes::All,
            Self::Ktap => Codes::Ktap,
        }
    }
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}
