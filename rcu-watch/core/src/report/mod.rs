//! What a run says, as data: the stream of messages that every sink prints.
//!
//! The stream's shape is the NDJSON contract: one [`Envelope`] a line, `header` first, `summary` last; a
//! missing summary means the run was cut short. `seq` is the stream's own number; order by it, never by time. It has
//! no gaps but where a reader took nothing for so long that messages were dropped, which `output_dropped` counts. Integers that can pass 2^53 are strings, S, N, M and addresses in hex. Readers ignore
//! types and members that they do not know; additions keep [`SCHEMA`], anything else raises it.

use alloc::boxed::Box;

pub mod audit;
pub mod baseline;
pub mod check;
pub mod finding;
pub mod grace_period;
pub mod handler_change;
pub mod handler_list;
pub mod handlers;
pub mod header;
pub mod patches;
pub mod plan;
pub mod progress;
#[cfg(test)]
mod schema;
pub mod snapshot;
pub mod summary;
pub mod transition;
pub(crate) mod witness;

use serde::{Deserialize, Serialize};

use crate::units::{CpuId, Nanos};

pub use audit::{AuditTotals, AuditedFunction, CheckedFunction};
pub use baseline::Baseline;
pub use check::Check;
pub use finding::{FindingReport, Repeat};
pub use grace_period::GracePeriod;
pub use handler_change::{HandlerChange, HandlerChangeTotals};
pub use handlers::{HandlerReport, HandlerTotals};
pub use header::Header;
pub use patches::PatchReport;
pub use plan::{LivepatchReport, PlanChange};
pub use progress::{Heartbeat, Lost, Missed, OutputDropped, ProbeError};
pub use snapshot::SnapshotReport;
pub use summary::Summary;
pub use transition::Transition;

/// Version of the stream's shape.
pub const SCHEMA: u32 = 1;

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Envelope {
    /// Number in this stream, from 0. A gap is what `output_dropped` counts.
    pub seq: u64,
    /// When it happened, `CLOCK_MONOTONIC`.
    pub ts_ns: Nanos,
    /// Where it happened; absent where that has no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuId>,
    /// What happened.
    #[serde(flatten)]
    pub message: Message,
}

impl Envelope {
    /// Reads a line of a stream; `None` where it is of a type that this build does not know, as a later one may write.
    ///
    /// # Errors
    /// Where the line is not JSON, or a type that is known has another shape.
    pub fn read(line: &str) -> Result<Option<Self>, serde_json::Error> {
        if serde_json::from_str::<Head>(line)?.kind == Type::Other {
            return Ok(None);
        }
        serde_json::from_str(line).map(Some)
    }
}

/// As much of a line as tells its type.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Type,
}

macro_rules! messages {
    ($($(#[$attribute:meta])* $name:ident($data:ty),)*) => {
        /// What a line says: `"type"` and `"data"`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(tag = "type", content = "data", rename_all = "snake_case")]
        pub enum Message {
            $($(#[$attribute])* $name($data),)*
        }

        #[derive(PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Type {
            $($name,)*
            #[serde(other)]
            Other,
        }
    };
}
messages! {
    /// First: where the stream comes from, and what it can tell.
    Header(Box<Header>),
    /// The first break of a kind, in full.
    Finding(Box<FindingReport>),
    /// More breaks of a kind that was told, as a count.
    Repeat(Repeat),
    /// Only with `--stream all`.
    Snapshot(Box<SnapshotReport>),
    /// Only with `--stream all` and watchpoints.
    Transition(Box<Transition>),
    /// A livepatch came, moved tasks, or went.
    Livepatch(LivepatchReport),
    /// A probe or the handlers on its function changed.
    PlanChange(PlanChange),
    /// Records that there was no room for.
    Lost(Lost),
    /// Runs of a probe that the kernel itself skipped.
    Missed(Missed),
    /// A probe that could not be attached, or a record that could not be decoded.
    ProbeError(ProbeError),
    /// Messages that were not written, because their reader took nothing for a time.
    OutputDropped(OutputDropped),
    /// `doctor`: one thing that it looked at.
    Check(Check),
    /// How the run goes, every ten seconds.
    Heartbeat(Heartbeat),
    /// A grace period that has lasted for more than two seconds, and who holds it.
    GracePeriod(Box<GracePeriod>),
    /// `patches`: one livepatch.
    Patch(Box<PatchReport>),
    /// `audit`: one suspect.
    Audited(Box<AuditedFunction>),
    /// `audit`: after the last suspect.
    AuditTotals(AuditTotals),
    /// `check`: one function.
    Checked(Box<CheckedFunction>),
    /// `handlers`: a handler at one place.
    Handler(Box<HandlerReport>),
    /// `handlers`: after the last handler.
    HandlerTotals(HandlerTotals),
    /// `handlers --diff`: a handler that is not as it was.
    HandlerChange(Box<HandlerChange>),
    /// `handlers --diff`: after the last change.
    HandlerChangeTotals(Box<HandlerChangeTotals>),
    /// Last: the verdict, and what it rests on.
    Summary(Box<Summary>),
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use super::*;

    #[test]
    fn every_line_of_the_golden_streams_comes_back_as_it_was() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let mut lines = 0;
        for folder in ["golden", "corpus"] {
            for file in fs::read_dir(tests.join(folder)).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_none_or(|extension| extension != "ndjson") {
                    continue;
                }
                for line in fs::read_to_string(&path).unwrap().lines() {
                    let envelope = Envelope::read(line).unwrap().expect("a type that is known");
                    let before: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(serde_json::to_value(&envelope).unwrap(), before, "{}", path.display());
                    lines += 1;
                }
            }
        }
        assert!(lines > 20, "{lines}");
    }

    #[test]
    fn a_type_of_a_later_version_is_passed_over_and_a_known_one_must_have_its_shape() {
        let line = |kind: &str| format!(r#"{{"seq":0,"ts_ns":"1","type":"{kind}","data":{{"x":1}}}}"#);
        assert!(Envelope::read(&line("of a later version")).unwrap().is_none());
        assert!(Envelope::read(&line("lost")).is_err());
        assert!(Envelope::read("no break in 00:31").is_err());
    }
}
