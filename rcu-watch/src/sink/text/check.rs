//! What `doctor` found, a line a check.

use rcu_watch_core::report::Summary;
use rcu_watch_core::report::check::{Check, CheckState};

use crate::sink::text::style::Style;

/// The line, and before the first of its group a heading.
pub(super) fn lines(check: &Check, is_first: bool, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    if is_first {
        lines.push(heading(check.group).to_owned());
    }
    let state = match check.state {
        CheckState::Ok => style.good("ok     "),
        CheckState::Lacking => style.doubtful("lacking"),
        CheckState::Blocking => style.bad("NO     "),
        CheckState::Unknown => style.doubtful("unknown"),
    };
    let needs = match check.needs.as_slice() {
        [] => String::new(),
        needs => style.faint(&format!(" (takes {})", needs.join(", "))),
    };
    let remedy = check.remedy.as_ref().map_or_else(String::new, |remedy| format!(" -> {remedy}"));
    // Options have long names, and there is nothing that stands beside them.
    let width = if check.group == "configuration" { 39 } else { 26 };
    lines.push(format!("  {state} {:width$} {}{needs}{remedy}", check.name, check.detail));
    lines
}

fn heading(group: &str) -> &str {
    match group {
        "privilege" => "what this process may do",
        "configuration" => "how this kernel was built",
        "source" => "what can be read",
        "mechanism" => "ways to get to a place, and the capabilities that they take",
        "tracepoint" => "tracepoints",
        "state" => "what was found out",
        other => other,
    }
}

pub(super) fn verdict(summary: &Summary, style: Style) -> Vec<String> {
    if summary.reasons.is_empty() {
        return vec![style.good("rcu-watch can watch this kernel; `rcu-watch probes` prints by what")];
    }
    let mut lines = vec![style.bad("rcu-watch cannot watch this kernel:")];
    lines.extend(summary.reasons.iter().map(|reason| format!("  {reason}")));
    lines
}
