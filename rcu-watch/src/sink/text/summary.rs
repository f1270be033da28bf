//! The end: the verdict first, then what it rests on.

use rcu_watch_core::Severity;
use rcu_watch_core::report::Summary;
use rcu_watch_core::report::summary::{
    Book, Cost, FindingTotal, Followed, GuardTotal, RuleCoverage, RuleStatus, RunVerdict, Totals,
};
use rcu_watch_core::report::transition::{Balance, Transitions};

use crate::sink::text::phrase::{self, count, plural};
use crate::sink::text::style::Style;

pub(super) fn lines(summary: &Summary, verbose: bool, style: Style) -> Vec<String> {
    let mut lines = vec![verdict(summary, style)];
    lines.extend(summary.reasons.iter().map(|reason| format!("  because {reason}")));
    lines.extend(findings(summary, style));
    lines.extend(guards(&summary.guards));
    lines.extend(rules(summary, verbose));
    lines.extend(summary.transitions.iter().map(transitions));
    lines.push(balance(&summary.totals));
    if verbose {
        lines.extend(summary.followed.iter().map(followed));
        lines.extend(books(&summary.books));
    }
    lines.push(cost(&summary.cost));
    if !summary.output_dropped.is_none() {
        lines.push(format!("  not written: {}", phrase::dropped(&summary.output_dropped)));
    }
    if let Some(child) = &summary.child {
        let end = match (child.code, child.signal) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "still runs".to_owned(),
        };
        lines.push(format!("  command: {} {end}", child.command));
    }
    lines
}

/// The end of a kernel log: what it has, and nothing of what only a run knows.
pub(super) fn log(summary: &Summary, verbose: bool, style: Style) -> Vec<String> {
    let kinds = summary.findings.len() as u64;
    let verdict = match summary.verdict {
        RunVerdict::Findings => style.bad(&format!("BREAK: {} in the log", plural(kinds, "finding"))),
        _ if kinds > 0 => {
            style.doubtful(&format!("no break that counts; {} in the log", plural(kinds, "finding")))
        }
        RunVerdict::Inconclusive => style.doubtful("INCONCLUSIVE: the log may have a splat of this class"),
        _ => style.good("no splat of this class in the log"),
    };
    let mut lines = vec![verdict];
    lines.extend(summary.reasons.iter().map(|reason| format!("  because {reason}")));
    lines.extend(findings(summary, style));
    if let Some(log) = summary.log.as_ref().filter(|_| verbose) {
        lines.push(format!("  {} read as {}", plural(log.lines, "line"), log.form));
    }
    lines
}

/// The end of a table of functions: what casts doubt on it, and the books for those who ask.
pub(super) fn table(summary: &Summary, verbose: bool, style: Style) -> Vec<String> {
    let doubt = |reason: &String| style.doubtful(&format!("INCONCLUSIVE: {reason}"));
    let mut lines: Vec<String> = summary.reasons.iter().map(doubt).collect();
    if verbose {
        lines.push(balance(&summary.totals));
        lines.extend(books(&summary.books));
        lines.push(cost(&summary.cost));
    }
    lines
}

fn verdict(summary: &Summary, style: Style) -> String {
    let with = |status| summary.rules.iter().filter(|rule| rule.status == status).count();
    let coverage = format!(
        "{} judged, {} not exercised, {} not visible here",
        plural(with(RuleCoverage::Judged) as u64, "rule"),
        with(RuleCoverage::NotExercised),
        with(RuleCoverage::Blind)
    );
    let time = phrase::clock(summary.elapsed_ns);
    let kinds = summary.findings.len() as u64;
    let hits = summary.findings.iter().map(|finding| finding.count).sum();
    let found = format!("{}, {} in {time}", plural(kinds, "finding"), plural(hits, "hit"));
    let verdict = match summary.verdict {
        RunVerdict::Findings => style.bad(&format!("BREAK: {found}")),
        RunVerdict::Clean if kinds > 0 => style.doubtful(&format!("{}; {found}", uncounted(summary))),
        RunVerdict::Clean => style.good(&format!("no break in {time}")),
        RunVerdict::Inconclusive => style.doubtful(&format!("INCONCLUSIVE after {time}")),
        RunVerdict::Unsupported => style.doubtful("not supported here"),
    };
    format!("{verdict}. {coverage}")
}

/// What was found and does not count: `no error; 1 warning: RW018`. Never that there was no break.
fn uncounted(summary: &Summary) -> String {
    let kinds = |severity| summary.findings.iter().filter(move |total| total.severity == severity);
    let mut parts = Vec::new();
    for severity in Severity::ALL.iter().rev().copied() {
        let number = kinds(severity).count() as u64;
        if number == 0 {
            continue;
        }
        let mut rules: Vec<&str> = kinds(severity).map(|total| total.rule.code()).collect();
        rules.sort_unstable();
        rules.dedup();
        let note = match kinds(severity).filter(|total| total.known || total.synthetic).count() as u64 {
            0 => "",
            known if known == number => " (known)",
            _ => " (some known)",
        };
        parts.push(format!("{}{note}: {}", plural(number, &severity.to_string()), rules.join(" ")));
    }
    let worst = summary.findings.iter().map(|total| total.severity).max();
    let none = if worst < Some(Severity::Error) { "no error; " } else { "no error that counts; " };
    format!("{none}{}", parts.join("; "))
}

fn findings(summary: &Summary, style: Style) -> Vec<String> {
    let line = |finding: &FindingTotal| {
        format!(
            "  {} {} {}{}: {}{}",
            style.severity(finding.severity, &finding.severity.to_string()),
            finding.rule,
            finding.function,
            phrase::handlers_of(finding.rule, &finding.handlers),
            plural(finding.count, "time"),
            match finding {
                FindingTotal { synthetic: true, .. } => " (synthetic)",
                FindingTotal { known: true, .. } => " (in the baseline)",
                _ => "",
            },
        )
    };
    summary.findings.iter().map(line).collect()
}

fn guards(guards: &[GuardTotal]) -> Vec<String> {
    let asked = |guard: &GuardTotal| guard.protects + guard.fails;
    if guards.iter().all(|guard| asked(guard) == 0) {
        return Vec::new();
    }
    let width = guards.iter().map(|guard| guard.guard.name().len()).max().unwrap_or(0);
    let mut lines = vec!["  which guard would have protected a handler at these moments:".to_owned()];
    lines.extend(guards.iter().map(|guard| {
        format!("    {:width$}  {} of {}", guard.guard.name(), count(guard.protects), count(asked(guard)))
    }));
    lines
}

fn rules(summary: &Summary, verbose: bool) -> Vec<String> {
    let statuses = [
        (RuleCoverage::Judged, "judged"),
        (RuleCoverage::NotExercised, "not exercised"),
        (RuleCoverage::Blind, "not visible here"),
    ];
    let of = |status| summary.rules.iter().filter(move |rule| rule.status == status);
    if verbose {
        let line = |word: &str, rule: &RuleStatus| {
            let reason = rule.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let fired = if rule.count > 0 {
                format!(", fired {}", plural(rule.count, "time"))
            } else {
                String::new()
            };
            format!("  {} {} {word}{fired}{reason}", rule.rule, rule.name)
        };
        return statuses
            .iter()
            .flat_map(|&(status, word)| of(status).map(move |rule| line(word, rule)))
            .collect();
    }
    let part = |(status, word)| {
        let ids: Vec<_> = of(status).map(|rule| rule.rule.code()).collect();
        (!ids.is_empty()).then(|| format!("{word} {}", ids.join(" ")))
    };
    let parts: Vec<_> = statuses.into_iter().filter_map(part).collect();
    if parts.is_empty() { Vec::new() } else { vec![format!("  {}", parts.join("; "))] }
}

/// `  followed: 1,204 records compared with the one before, 3 times started over where the stream lacks runs`
fn followed(followed: &Followed) -> String {
    format!(
        "  followed: {} compared with the one before, {} started over where the stream lacks runs",
        plural(followed.records, "record"),
        plural(followed.restarts, "time")
    )
}

/// `  transitions: idle 129 in, 129 out; irq 80 in, 80 out; user none; 3 momentary, 0 unknown`
fn transitions(seen: &Transitions) -> String {
    let part = |balance: &Balance| {
        let doubt = if balance.balanced { "" } else { " (DO NOT BALANCE)" };
        match (balance.enter, balance.exit) {
            (0, 0) => format!("{} none", balance.kind.name()),
            (enter, exit) => {
                format!("{} {} in, {} out{doubt}", balance.kind.name(), count(enter), count(exit))
            }
        }
    };
    let parts: Vec<_> = seen.balance.iter().map(part).collect();
    format!(
        "  transitions: {}; {} momentary, {} unknown",
        parts.join("; "),
        count(seen.momentary),
        count(seen.unknown)
    )
}

fn balance(totals: &Totals) -> String {
    let mut line = format!(
        "  books: {} = {} at rest + {} unstable + {} emitted; {} delivered, {} lost; {} missed",
        plural(totals.hits, "hit"),
        count(totals.at_rest),
        count(totals.unstable),
        count(totals.emitted),
        count(totals.delivered),
        count(totals.lost),
        count(totals.missed)
    );
    if totals.undecodable > 0 {
        line += &format!("; {} undecodable", count(totals.undecodable));
    }
    line
}

fn books(books: &[Book]) -> Vec<String> {
    books
        .iter()
        .map(|book| {
            format!(
                "    cpu{} {} {}: {} hits = {} at rest + {} unstable + {} emitted; {} delivered, {} lost",
                book.cpu,
                book.point.name(),
                book.symbol,
                count(book.hits),
                count(book.at_rest),
                count(book.unstable),
                count(book.emitted),
                count(book.delivered),
                count(book.lost)
            )
        })
        .collect()
}

fn cost(cost: &Cost) -> String {
    let bpf = match cost.bpf_run_seconds {
        Some(seconds) => format!("{seconds:.3} s in BPF programs"),
        None => "BPF run time not counted by this kernel".to_owned(),
    };
    format!(
        "  cost: {:.2} s CPU here, {bpf}; ring {}, resident {} (at most {})",
        cost.user_cpu_seconds,
        phrase::bytes(cost.ring_bytes),
        phrase::bytes(cost.resident_bytes),
        phrase::bytes(cost.max_resident_bytes)
    )
}
