//! `docs/support-matrix.md`: every scenario on every kernel, and every rule with the scenario that makes it fire.
//!
//! Made from the catalog and from the recorded results, and held to both by a unit test: neither can change
//! without the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rcu_watch_core::RuleId;
use rcu_watch_core::rules::RULES;

use super::matrix::{self, KERNELS};
use super::results::{self, Results};
use super::scenario::{Scenario, catalog};
use crate::cache;

/// Why no scenario makes a rule fire, on the kernels where none does.
const UNFIRED: &[(RuleId, &str)] = &[
    (
        RuleId::IrqEnterNoEffect,
        "cannot happen since 5.8, where every irq and NMI is counted in noinstr code: model and replay",
    ),
    (
        RuleId::NmiEdge,
        "cannot happen on x86 since 5.8, whose entry sets the NMI bits before it calls out: model and replay",
    ),
    (
        RuleId::ExceptionNotNmi,
        "not since 5.8, where an exception is counted and marked as an NMI: model and replay",
    ),
    (
        RuleId::LivepatchBypassed,
        "needs a kernel whose ftrace refuses handlers while RCU is off, from 6.3 to 6.9 or built so: model and replay",
    ),
    (
        RuleId::EqsWindowHit,
        "needs an NMI within a few instructions, which nobody can time: model and replay; info wherever it is seen",
    ),
    (RuleId::HandlerDropped, "this kernel skips no handler that it was given"),
    (RuleId::ExposedFunction, "from 6.3 the idle path is noinstr: no function that can be hooked runs there"),
];

const INTRODUCTION: &str = "\
# Support matrix

Made by `cargo xtask lab matrix` from the catalog of scenarios and from `xtask/lab/results.tsv`. A cell says **pass**
when the scenario met all of its expectations, on that kernel, when it was last recorded: `cargo xtask lab run --record`
and `cargo xtask test --record` write that file, and nothing else does. **FAIL** means that it did not, **not run** that
nobody recorded it. Where a scenario says nothing on a kernel, a footnote says why.

A pass means that what had to be reported was reported, that nothing else was, that the stream is whole and its books
balance, and that the kernel had nothing to complain about. It was run under emulation, with two CPUs unless the
scenario says otherwise: it says what is seen, and not what it costs.

Scenarios marked *long* are played by name (`cargo xtask lab run --kernel K --scenario NAME`) or with
`cargo xtask test --all`, and not by `cargo xtask test`.
";

const CAUGHT: &str = "\
## The break of the thread, on today's kernels

| what happens | what became of it | seen by | told as |
| --- | --- | --- | --- |
| a livepatch on a function that idle calls (2017) | the handler is safe since 4.13, the replacement body is not: it still breaks up to 6.2; from 6.3 the kernel refuses the patch | a probe on the patched function | RW001 |
| a kprobe, fentry program or ftrace handler on such a function | breaks up to 6.2; from 6.3 nobody can hook it | a probe on the function | RW001 |
| the same out of a module that enters the EQS itself | breaks on every kernel, the newest too | a kprobe on the function | RW001 |
| the stack tracer (2017) | skips while RCU is not watching: nothing breaks, and the function stays exposed | a probe on the function | RW015 |
| an int3 or #DB in idle | counted by its entry since 5.8: a handler there runs watched | a kprobe, and `kprobe_int3_handler` | RW015 |
| fprobe on a function that runs with RCU off | newer kernels skip it silently | a second probe on the function | RW013 |
| an NMI finds code that can be hooked in an EQS | a warning before anybody is hurt | the registers that its handler is given | RW014 |
| irq entry, NMI entry, idle entry themselves | noinstr since 5.8: no probe can be there | a watchpoint on the state word | RW005, RW012 |
| nesting counters that do not add up | a corrupt counter, on any kernel | the checkpoint at each context switch | RW006, RW007, RW010 |
";

pub(super) fn page() -> PathBuf {
    cache::workspace().join("docs/support-matrix.md")
}

/// Writes the page.
pub(super) fn write() -> Result<()> {
    let page = page();
    let text = text(&results::read()?);
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

pub(super) fn text(results: &Results) -> String {
    let mut text = format!("{INTRODUCTION}\n## Scenarios\n\n");
    let mut notes: Vec<&str> = Vec::new();
    heading(&mut text, "scenario", &["what it shows"]);
    for scenario in catalog::all() {
        let cells: Vec<String> =
            KERNELS.iter().map(|kernel| cell(scenario, kernel.name, results, &mut notes)).collect();
        let long = if scenario.heavy { " *(long)*" } else { "" };
        row(&mut text, &format!("`{}`{long}", scenario.name), &cells, &[scenario.about.to_owned()]);
    }
    text.push('\n');
    for (number, note) in (1..).zip(&notes) {
        let _ = writeln!(text, "{number}. not applicable: {note}");
    }
    text.push_str("\nRecorded on: ");
    let releases: BTreeSet<&str> = results.values().map(|recorded| recorded.release.as_str()).collect();
    text.push_str(&releases.into_iter().collect::<Vec<_>>().join(", "));
    text.push_str(".\n");
    for scenario in catalog::all() {
        for kernel in scenario.kernels.iter().filter(|kernel| matrix::find(kernel).is_none()) {
            let verdict = verdict(scenario, kernel, results);
            let _ = writeln!(text, "\nOn a kernel of our own: `{}` on {kernel}: {verdict}.", scenario.name);
        }
    }
    text.push_str("\n## Rules\n\nThe scenarios that make a rule fire.\n\n");
    heading(&mut text, "rule", &[]);
    for rule in RULES {
        let unfired = UNFIRED.iter().find(|(id, _)| *id == rule.id).map_or("", |(_, reason)| reason);
        let cells: Vec<String> = KERNELS
            .iter()
            .map(|kernel| {
                let names: Vec<String> = catalog::all()
                    .filter(|scenario| scenario.kernels.contains(&kernel.name))
                    .filter(|scenario| {
                        scenario.expect.iter().any(|expect| expect.fires(rule.id, kernel.name))
                    })
                    .map(|scenario| format!("`{}`", scenario.name))
                    .collect();
                if names.is_empty() { unfired.to_owned() } else { names.join(", ") }
            })
            .collect();
        row(&mut text, rule.code, &cells, &[]);
    }
    text.push('\n');
    text.push_str(CAUGHT);
    text
}

fn heading(text: &mut String, first: &str, rest: &[&str]) {
    let kernels: Vec<String> = KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect();
    let rest: Vec<String> = rest.iter().map(|&name| name.to_owned()).collect();
    row(text, first, &kernels, &rest);
    let line = |cells: &[String]| vec!["---".to_owned(); cells.len()];
    row(text, "---", &line(&kernels), &line(&rest));
}

fn row(text: &mut String, first: &str, cells: &[String], rest: &[String]) {
    let all: Vec<&str> = std::iter::once(first).chain(cells.iter().chain(rest).map(String::as_str)).collect();
    let _ = writeln!(text, "| {} |", all.join(" | "));
}

fn cell(scenario: &Scenario, kernel: &str, results: &Results, notes: &mut Vec<&'static str>) -> String {
    if !scenario.kernels.contains(&kernel) {
        let number = notes.iter().position(|&note| note == scenario.elsewhere).unwrap_or_else(|| {
            notes.push(scenario.elsewhere);
            notes.len() - 1
        });
        return format!("n/a ({})", number + 1);
    }
    verdict(scenario, kernel, results).to_owned()
}

fn verdict(scenario: &Scenario, kernel: &str, results: &Results) -> &'static str {
    match results.get(&(scenario.name.to_owned(), kernel.to_owned())) {
        None => "not run",
        Some(recorded) if recorded.passed => "pass",
        Some(_) => "**FAIL**",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_that_of_the_catalog_and_the_results() {
        let made = text(&results::read().unwrap());
        let page = fs::read_to_string(page()).unwrap();
        assert!(
            made == page,
            "docs/support-matrix.md is of another catalog or other results; run `cargo xtask lab matrix`"
        );
    }

    #[test]
    fn the_readme_has_the_table_of_what_is_caught_where() {
        let readme = fs::read_to_string(cache::workspace().join("README.md")).unwrap();
        let (_, table) = CAUGHT.split_once("\n\n").unwrap();
        let made = format!("<!-- caught: from xtask/src/lab/support.rs -->\n{table}<!-- end of caught -->\n");
        assert!(readme.contains(&made), "README.md has another table; it must have:\n{made}");
    }

    #[test]
    fn no_cell_is_empty_and_each_rule_has_a_scenario_or_a_reason() {
        for line in text(&Results::new()).lines().filter(|line| line.starts_with('|')) {
            assert!(line.split('|').skip(1).filter(|cell| cell.trim().is_empty()).count() <= 1, "{line}");
        }
    }
}
