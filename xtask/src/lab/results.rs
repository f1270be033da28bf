//! What each scenario came to on each kernel when it was last recorded: `xtask/lab/results.tsv`, checked in.
//!
//! The support matrix is made from it, so that the matrix says what was run and not what was hoped for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::suite::Outcome;
use crate::cache;

/// One pair, as it was last played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub release: String,
    pub passed: bool,
    pub seconds: u64,
}

/// By scenario and kernel.
pub(super) type Results = BTreeMap<(String, String), Recorded>;

fn path() -> PathBuf {
    cache::workspace().join("xtask/lab/results.tsv")
}

pub(super) fn read() -> Result<Results> {
    let path = path();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(parse(&text))
}

/// Takes these in among those that are there.
pub(super) fn record(outcomes: &[Outcome]) -> Result<()> {
    let mut results = read().unwrap_or_default();
    for outcome in outcomes {
        let recorded = Recorded {
            release: outcome.release.clone(),
            passed: outcome.is_met(),
            seconds: outcome.took.as_secs(),
        };
        results.insert((outcome.scenario.to_owned(), outcome.kernel.clone()), recorded);
    }
    let path = path();
    fs::write(&path, text_of(&results)).with_context(|| format!("cannot write {}", path.display()))
}

fn parse(text: &str) -> Results {
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (scenario, kernel, release) = (next()?.to_owned(), next()?.to_owned(), next()?.to_owned());
        let (passed, seconds) = (next()? == "pass", next()?.parse().ok()?);
        Some(((scenario, kernel), Recorded { release, passed, seconds }))
    };
    text.lines().filter_map(line).collect()
}

fn text_of(results: &Results) -> String {
    let line =
        |((scenario, kernel), Recorded { release, passed, seconds }): (&(String, String), &Recorded)| {
            let verdict = if *passed { "pass" } else { "fail" };
            format!("{scenario}\t{kernel}\t{release}\t{verdict}\t{seconds}\n")
        };
    results.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_their_file() {
        let recorded = Recorded { release: "6.1.0-1-amd64".into(), passed: false, seconds: 12 };
        let results = Results::from([(("clean".into(), "6.1".into()), recorded)]);
        assert_eq!(parse(&text_of(&results)), results);
        assert_eq!(parse("half a line\tof\n"), Results::new());
    }
}
