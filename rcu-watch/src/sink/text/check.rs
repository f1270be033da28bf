//! What `doctor` found, a line a check.

use rcu_watch_core::report::Summary;
use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};

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
    // Options of the configuration have long names, so that group gets a wider column.
    let width = if check.group == CheckGroup::Configuration { 39 } else { 26 };
    lines.push(format!("  {state} {:width$} {}{needs}{remedy}", check.name, check.detail));
    lines
}

const fn heading(group: CheckGroup) -> &'static str {
    match group {
        CheckGroup::Privilege => "what this process may do",
        CheckGroup::Configuration => "how this kernel was built",
        CheckGroup::Source => "what can be read",
        CheckGroup::Mechanism => "ways to get to a place, and the capabilities that they take",
        CheckGroup::Tracepoint => "tracepoints",
        CheckGroup::State => "what was found out",
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
