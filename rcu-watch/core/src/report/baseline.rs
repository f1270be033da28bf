//! Breaks that are known already: the fingerprints in an earlier NDJSON stream.
//!
//! A fingerprint is made of rule, function and handlers, so it holds over kernels, addresses and runs. A
//! finding with a known one is still reported, marked, and does not count for the verdict.

use alloc::string::String;
use alloc::vec::Vec;

use hashbrown::HashSet;
use serde::Deserialize;

/// The fingerprints of findings that are known already, from an earlier run's stream.
#[derive(Debug, Default)]
pub struct Baseline(HashSet<String>);

/// Why a file is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// A line is not JSON.
    #[error("line {line} of the baseline is not JSON ({error}); give the output of `rcu-watch -f json`")]
    NotJson {
        /// Its number, from 1.
        line: usize,
        /// What the JSON reader said.
        error: serde_json::Error,
    },
    #[error(
        "the baseline is no stream of rcu-watch; give the output of `rcu-watch -f json`, header included"
    )]
    /// Each line is JSON, but there is no header among them.
    NotAStream,
}

/// As much of a line as tells whether a baseline needs it; its own reader, so that it also reads streams of other
/// versions, and keeps nothing of what it does not need.
#[derive(Deserialize)]
struct Line {
    r#type: String,
}

/// A line with a finding, or with all of them.
#[derive(Deserialize)]
struct Told {
    data: Fingerprints,
}

#[derive(Deserialize)]
struct Fingerprints {
    fingerprint: Option<String>,
    #[serde(default)]
    findings: Vec<Fingerprint>,
}

#[derive(Deserialize)]
struct Fingerprint {
    fingerprint: Option<String>,
}

impl Baseline {
    /// Takes the lines of a stream.
    ///
    /// # Errors
    /// Where they are no stream of rcu-watch.
    pub fn read<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<Self, BaselineError> {
        let mut known = HashSet::new();
        let mut is_stream = false;
        for (index, line) in lines.into_iter().enumerate() {
            let line = line.as_ref();
            if line.trim().is_empty() {
                continue;
            }
            let no_json = |error| BaselineError::NotJson { line: index + 1, error };
            let kind = serde_json::from_str::<Line>(line).map_err(no_json)?.r#type;
            // A run that was cut to its summary serves as well.
            is_stream |= matches!(kind.as_str(), "header" | "summary");
            if matches!(kind.as_str(), "finding" | "summary") {
                let Told { data } = serde_json::from_str(line).map_err(no_json)?;
                known.extend(data.fingerprint);
                known.extend(data.findings.into_iter().filter_map(|finding| finding.fingerprint));
            }
        }
        if is_stream { Ok(Self(known)) } else { Err(BaselineError::NotAStream) }
    }

    /// Whether a finding with this fingerprint is in it.
    #[must_use]
    pub fn knows(&self, fingerprint: &str) -> bool {
        self.0.contains(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_come_from_findings_and_from_the_summary() {
        let stream = "{\"type\":\"header\",\"data\":{}}\n\
            {\"type\":\"finding\",\"data\":{\"fingerprint\":\"a\"}}\n\n\
            {\"type\":\"of a later version\"}\n\
            {\"type\":\"summary\",\"data\":{\"findings\":[{\"fingerprint\":\"b\"}]}}\n";
        let baseline = Baseline::read(stream.lines()).unwrap();
        assert!(baseline.knows("a") && baseline.knows("b") && !baseline.knows("c"));
    }

    #[test]
    fn a_clean_run_is_a_baseline_that_knows_nothing() {
        assert!(!Baseline::read(["{\"type\":\"header\"}"]).unwrap().knows(""));
    }

    #[test]
    fn what_is_no_stream_is_refused_with_the_line() {
        let error = Baseline::read(["{\"type\":\"header\"}", "no break in 00:31"]).unwrap_err();
        assert!(error.to_string().starts_with("line 2 of the baseline is not JSON"), "{error}");
        assert!(matches!(Baseline::read([""]), Err(BaselineError::NotAStream)));
    }
}
