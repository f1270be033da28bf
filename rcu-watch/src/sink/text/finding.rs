//! Findings: one line each with everything that people grep for; below the first of a kind, the reason and the stack.

use std::io::{self, Write as _};

use rcu_watch_core::report::finding::{Holder, StackFrame, StateReport};
use rcu_watch_core::report::{FindingReport, Repeat, SnapshotReport, Transition};

use crate::sink::text::phrase::{self, At};
use crate::sink::text::style::Style;

pub(super) fn lines(at: At, finding: &FindingReport, verbose: bool, style: Style) -> Vec<String> {
    let note = match finding {
        FindingReport { synthetic: true, .. } => " (synthetic: --self-test)",
        FindingReport { known: true, .. } => " (in the baseline)",
        _ => "",
    };
    let mut head = format!(
        "{} {} {} {} {}{}",
        phrase::at(at),
        style.severity(finding.severity, &finding.severity.to_string()),
        finding.rule,
        finding.name,
        finding.function,
        phrase::handlers_of(finding.rule, &finding.handlers),
    );
    if let Some(state) = &finding.state {
        head += &format!("; {}", words(state));
    }
    if let Some(task) = &finding.task {
        let comm = if task.comm.is_empty() { "pid" } else { &task.comm };
        head += &format!("; {comm}[{}]", task.pid);
    }
    let mut lines = vec![head + note];
    lines.push(format!("    {}", finding.because));
    if verbose {
        lines.extend(finding.state.as_ref().map(|state| format!("    {}", more_words(state))));
        let saves = finding.guards.iter().filter(|guard| guard.protects).map(|guard| guard.guard.name());
        let saves = saves.collect::<Vec<_>>().join(", ");
        if !finding.guards.is_empty() {
            let saves = if saves.is_empty() { "none" } else { &saves };
            lines.push(format!("    guards that would have protected it: {saves}"));
        }
        lines.push(format!("    finding {}, fingerprint {}", finding.id, finding.fingerprint));
    }
    lines.extend(finding.stack.iter().map(|frame| style.faint(&format!("    {}", frame.label()))));
    for holder in &finding.holders {
        lines.push(format!("    {}", held_by(holder)));
        lines.extend(holder.stack.iter().map(|frame| style.faint(&format!("      {}", frame.label()))));
    }
    lines.extend(finding.help.iter().map(|help| format!("    {help}")));
    lines
}

/// `held by kworker/1:2[113] on cpu 1 for 7 s: sleeps in cmdline_proc_show; it must return`
pub(super) fn held_by(holder: &Holder) -> String {
    let mut line = "held by".to_owned();
    if let Some(task) = &holder.task {
        line += &format!(" {}[{}]", task.comm, task.pid);
    }
    if let Some(cpu) = holder.cpu {
        line += &format!("{} cpu {cpu}", if holder.task.is_some() { " on" } else { "" });
    }
    if let Some(since) = holder.since_ns {
        line += &format!(" for {} s", since.0 / 1_000_000_000);
    }
    line += &format!(": {}", holder.state);
    if let Some(function) = &holder.function {
        line += &format!(" in {function}");
    }
    if let Some(help) = &holder.help {
        line += &format!("; {help}");
    }
    line
}

/// `W=0 N=0 M=0`, as RCU's developers write it. N and M are as the probe read them; W is what the code in question saw.
pub(super) fn words(state: &StateReport) -> String {
    format!(
        "W={} N={} M={}",
        u8::from(state.underlying_watching),
        phrase::counter(state.nesting),
        phrase::counter(state.nmi_nesting.raw)
    )
}

fn more_words(state: &StateReport) -> String {
    let context = state.context.map_or_else(String::new, |context| format!(", context {}", context.name()));
    format!(
        "S={} P={} (hardirq {}, nmi {}){context}, M is {} + {}, seen {}",
        state.state,
        state.preempt_count,
        u8::from(state.hardirq),
        u8::from(state.nmi),
        state.nmi_nesting.base.name(),
        state.nmi_nesting.depth,
        state.vantage.name(),
    )
}

pub(super) fn repeat(at: At, repeat: &Repeat) -> String {
    format!("{} (+{}) {} {}", phrase::at(at), repeat.count, repeat.rule, repeat.function)
}

pub(super) fn snapshot(out: &mut Vec<u8>, at: At, snapshot: &SnapshotReport) -> io::Result<()> {
    writeln!(
        out,
        "{} snapshot {} {} {} {}[{}]",
        phrase::at(at),
        snapshot.point.name(),
        snapshot.symbol,
        words(&snapshot.state),
        snapshot.task.comm,
        snapshot.task.pid
    )
}

pub(super) fn transition(at: At, transition: &Transition) -> String {
    let by = |frame: &Option<StackFrame>| frame.as_ref().map_or_else(|| "?".to_owned(), StackFrame::label);
    format!(
        "{} transition {} S={} by {} from {} {}[{}]",
        phrase::at(at),
        transition.cause.name(),
        transition.state.state,
        by(&transition.writer),
        by(&transition.caller),
        transition.task.comm,
        transition.task.pid
    )
}
