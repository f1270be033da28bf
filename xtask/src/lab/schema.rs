//! Every stream that a guest sent, held to docs/schema.json.
//!
//! The validator is an example of rcu-watch, whose tests need its crate anyway: linked here, it would make everybody's
//! first build a minute longer. The streams stay in `target/lab/streams`, for whoever wants to see what a kernel looks
//! like.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::console::{BootRecord, ScenarioRecord};
use crate::cache;
use crate::process::{cargo, run};

/// What every stream of rcu-watch begins with.
const START: &[u8] = b"{\"seq\":0,";

/// Writes the streams of a boot to files; those that nobody writes any more are left over from another time.
pub(super) fn keep(record: &BootRecord, kernel: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // One without a name holds what came before the first, and its directory would be that of all others.
    for scenario in record.scenarios.iter().filter(|scenario| !scenario.name.is_empty()) {
        let directory = cache::target().join("lab/streams").join(kernel).join(&scenario.name);
        let _ = fs::remove_dir_all(&directory);
        for (label, stream) in streams(scenario) {
            cache::create_dir(&directory)?;
            let file = directory.join(format!("{label}.ndjson"));
            fs::write(&file, stream).with_context(|| format!("cannot write {}", file.display()))?;
            files.push(file);
        }
    }
    Ok(files)
}

/// What looks like one, by the label of the command.
fn streams(scenario: &ScenarioRecord) -> impl Iterator<Item = (&str, &[u8])> {
    scenario
        .commands
        .iter()
        .map(|(label, output)| (label.as_str(), output.stdout.as_slice()))
        .filter(|(_, stdout)| stdout.starts_with(START))
}

/// Holds each line of each file to the schema. Whether a stream is whole is for the scenarios to say: some are cut
/// short on purpose.
pub(super) fn check(files: &[PathBuf]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let files: BTreeSet<&PathBuf> = files.iter().collect();
    let example = ["run", "--quiet", "--locked", "--package", "rcu-watch", "--example", "validate"];
    run(cargo().args(example).args(["--", "--lines"]).args(files))
}

#[cfg(test)]
mod tests {
    use super::super::console::Output;
    use super::*;

    #[test]
    fn only_streams_are_held_to_the_schema() {
        let output = |stdout: &[u8]| Output { stdout: stdout.to_vec(), ..Output::default() };
        let scenario = ScenarioRecord {
            commands: [
                ("watch".to_owned(), output(b"{\"seq\":0,\"ts_ns\":\"1\",\"type\":\"header\"}\n")),
                ("screen".to_owned(), output(b"rcu-watch 0.1.0 on 6.1\n")),
                ("silent".to_owned(), output(b"")),
            ]
            .into(),
            ..ScenarioRecord::default()
        };
        assert_eq!(streams(&scenario).map(|(label, _)| label).collect::<Vec<_>>(), ["watch"]);
    }
}
