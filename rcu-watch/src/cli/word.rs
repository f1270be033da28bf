//! Options that take one of a few words, and what each word means.
//!
//! The types that the words stand for belong to who acts on them and know nothing of the command line, so the
//! words are in tables here.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use rcu_watch_core::verdict::FailOn;

use crate::kernel::facts::feature::TransportChoice;
use crate::kernel::plan::WatchpointMode;
use crate::sink::options::{ColorChoice, Format};

pub(crate) const FAIL_ON: &[(&str, FailOn)] = &[
    ("info", FailOn::Info),
    ("warning", FailOn::Warning),
    ("error", FailOn::Error),
    ("never", FailOn::Never),
];

pub(crate) const FORMAT: &[(&str, Format)] =
    &[("text", Format::Text), ("json", Format::Json), ("ktap", Format::Ktap)];

/// An audit is also a list for other tools.
pub(crate) const AUDIT_FORMAT: &[(&str, Format)] = &[
    ("text", Format::Text),
    ("json", Format::Json),
    ("ktap", Format::Ktap),
    ("names", Format::Names),
    ("retsnoop", Format::Retsnoop),
];

pub(crate) const COLOR: &[(&str, ColorChoice)] =
    &[("auto", ColorChoice::Auto), ("always", ColorChoice::Always), ("never", ColorChoice::Never)];

pub(crate) const WATCHPOINTS: &[(&str, WatchpointMode)] =
    &[("off", WatchpointMode::Off), ("sample", WatchpointMode::Sample), ("always", WatchpointMode::Always)];

pub(crate) const TRANSPORT: &[(&str, TransportChoice)] =
    &[("auto", TransportChoice::Auto), ("ring", TransportChoice::Ring), ("perf", TransportChoice::Perf)];

/// Takes one of the words of `table`; help and completions list them.
pub(crate) fn one_of<T: Copy + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(word, _)| *word)).map(move |typed| {
        let (_, meant) =
            table.iter().find(|(word, _)| *word == typed).expect("clap lets these words pass only");
        *meant
    })
}
