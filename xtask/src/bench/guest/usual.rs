//! What instructions do not tell, in a usual guest with two CPUs: memory, and what a flood of records does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::plan::Step;

use crate::lab::Bench;
use crate::lab::console::BootRecord;

const LIMIT: Duration = Duration::from_secs(120);
/// A ring as large as the default, and every hit sent and judged, none printed.
const FLOOD: &str = "rcu-watch -d 6s -f json --perfetto /dev/null";
const DEFAULT: &str = "rcu-watch -d 6s -f json";

/// What a summary says.
#[derive(Clone, Debug)]
pub(super) struct Usual {
    pub release: String,
    peak_mib: f64,
    flood_delivered_per_second: f64,
    flood_lost: u64,
    flood_resident_mib: f64,
}

pub(super) fn measure(lab: &Bench) -> Result<Usual> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let run = |label: &str, line| Step::Run { label: label.into(), limit: LIMIT, argv: words(line) };
    let spawn = |label: &str, line| Step::Spawn { label: label.into(), argv: words(line) };
    let stop = |label: &str| Step::Signal { label: label.into(), signal: 9 };
    let record = lab.boot_quietly(vec![
        spawn("load", "lab-load 60 2"),
        run("default", DEFAULT),
        stop("load"),
        spawn("flood", "lab-flood 60"),
        run("all", FLOOD),
        stop("flood"),
    ])?;
    let (default, all) = (summary(&record, "default")?, summary(&record, "all")?);
    let number = |of: &Value, group: &str, name: &str| of[group][name].as_f64().unwrap_or_default();
    let mib = |of: &Value, name: &str| number(of, "cost", name) / f64::from(1 << 20);
    let seconds = all["elapsed_ns"].as_str().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9;
    Ok(Usual {
        release: lab.release().to_owned(),
        peak_mib: mib(&default, "max_resident_bytes"),
        flood_delivered_per_second: number(&all, "totals", "delivered") / seconds,
        flood_lost: all["totals"]["lost"].as_u64().unwrap_or_default(),
        flood_resident_mib: mib(&all, "max_resident_bytes"),
    })
}

/// The last line of a run's stream.
fn summary(record: &BootRecord, label: &str) -> Result<Value> {
    let output = record.scenarios.iter().find_map(|scenario| scenario.commands.get(label));
    let output = output.with_context(|| format!("the guest ended before {label} was run"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .with_context(|| format!("{label} left no summary"))?;
    Ok(last["data"].clone())
}

pub(super) fn markdown(all: &[Usual]) -> String {
    let mut text = String::from(
        "| two CPUs | most resident, start-up included, MiB | flood: records/s to the rules | lost | resident, MiB |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for Usual { release, peak_mib, flood_delivered_per_second, flood_lost, flood_resident_mib } in all {
        text.push_str(&format!(
            "| {release} | {peak_mib:.1} | {flood_delivered_per_second:.0} | {flood_lost} | \
             {flood_resident_mib:.1} |\n"
        ));
    }
    text
}
