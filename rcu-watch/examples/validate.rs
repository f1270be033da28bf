//! Holds recorded streams to docs/schema.json: `cargo run -p rcu-watch --example validate -- [--lines] FILE...`
//!
//! Also checks what a schema cannot say: header first, summary last, `seq` without gaps; with `--lines` a stream may
//! have been cut short. Only what is wrong is printed. An example and not a command, because a validator is nothing that
//! a user of the binary needs.

use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use jsonschema::Validator;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/schema.json");

fn main() -> Result<ExitCode> {
    let schema = serde_json::from_str(SCHEMA).context("docs/schema.json is not JSON")?;
    let validator = jsonschema::validator_for(&schema).context("docs/schema.json is no schema")?;
    let mut bad = false;
    let mut files: Vec<String> = env::args().skip(1).collect();
    let may_be_cut = files.first().is_some_and(|first| first == "--lines");
    files.drain(..usize::from(may_be_cut));
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        if let Err(error) = check(&validator, &text, may_be_cut) {
            bad = true;
            println!("{file}: {error:#}");
        }
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check(validator: &Validator, text: &str, may_be_cut: bool) -> Result<()> {
    // A line without its end was on its way when the run was killed.
    let text = if may_be_cut { &text[..text.rfind('\n').map_or(0, |end| end + 1)] } else { text };
    let mut last = None;
    for (index, line) in text.lines().enumerate() {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("line {} is not JSON", index + 1))?;
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        ensure!(errors.is_empty(), "line {}: {}", index + 1, errors.join("; "));
        ensure!(
            value["seq"].as_u64() == u64::try_from(index).ok(),
            "line {}: seq is {}",
            index + 1,
            value["seq"]
        );
        ensure!(index > 0 || value["type"] == "header", "the first line is no header");
        last = Some(value["type"].clone());
    }
    ensure!(
        may_be_cut || last == Some("summary".into()),
        "the last line is no summary: the run was cut short"
    );
    Ok(())
}
