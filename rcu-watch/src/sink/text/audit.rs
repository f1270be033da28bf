//! The tables of `audit` and `check`.

use rcu_watch_core::report::audit::{AuditVerdict, AuditWay, Forecast, ForecastKind, Observed};
use rcu_watch_core::report::finding::Holder;
use rcu_watch_core::report::{AuditTotals, AuditedFunction, CheckedFunction};

use crate::sink::text::phrase::{self, count, plural};
use crate::sink::text::style::Style;

/// A row of an audit; `None` for what only `-v` shows.
pub(super) fn row(audited: &AuditedFunction, verbose: bool, style: Style) -> Option<String> {
    let AuditedFunction { function, module, verdict, traced, caller, observed, reason } = audited;
    if *verdict == AuditVerdict::Watched && !verbose {
        return None;
    }
    let word = format!("{:12}", verdict.name().replace('_', "-"));
    let word = match verdict {
        AuditVerdict::Exposed => style.bad(&word),
        AuditVerdict::NotProbed | AuditVerdict::NotSeen => style.doubtful(&word),
        AuditVerdict::RcuInternal | AuditVerdict::Watched => style.faint(&word),
    };
    let module = module.as_ref().map_or_else(String::new, |module| format!(" [{module}]"));
    let mut line = format!("{word} {:32}", format!("{function}{module}"));
    if let Some(observed) = observed {
        line += &format!(" {}", seen(observed));
    }
    if let Some(reason) = reason {
        line += &format!(" {reason}");
    }
    if let Some(caller) = caller {
        line += &format!(" (traced {} by {caller})", plural(*traced, "call"));
    }
    Some(line)
}

/// `118 of 118 calls with RCU off; W=0 N=0 M=0; by fentry <- livepatch lp_idle`
fn seen(observed: &Observed) -> String {
    let Observed { mechanism, calls, unwatched, seconds, state, handlers } = observed;
    let mut text = if *unwatched > 0 {
        format!("{} of {} with RCU off", count(*unwatched), plural(*calls, "call"))
    } else {
        format!("{} in {seconds:.0} s", plural(*calls, "call"))
    };
    if let Some(state) = state {
        text += &format!("; {}", super::finding::words(state));
    }
    text += &format!("; by {}", mechanism.name());
    if !handlers.is_empty() {
        text += &format!(" <- {}", phrase::handlers(handlers));
    }
    text
}

/// The last line of an audit.
pub(super) fn end(totals: &AuditTotals, style: Style) -> Vec<String> {
    let AuditTotals {
        exposed,
        audited,
        suspects,
        rcu_internal,
        unconfirmed,
        eqs_entries,
        traced_calls,
        gaps,
        way,
    } = totals;
    let mut lines = Vec::new();
    if *way == AuditWay::FunctionTracer {
        let gaps = if *gaps > 0 { format!("; overwritten {}", plural(*gaps, "time")) } else { String::new() };
        let entries = if *eqs_entries == 1 { "entry" } else { "entries" };
        lines.push(format!(
            "  traced: {}, {} {entries} into an EQS{gaps}",
            plural(*traced_calls, "call"),
            count(*eqs_entries)
        ));
    }
    lines.push(format!(
        "  suspects: {}; {} RCU's own, {} not confirmed either way",
        count(*suspects),
        count(*rcu_internal),
        count(*unconfirmed)
    ));
    let what = if *way == AuditWay::FunctionTracer { "traceable function" } else { "known candidate" };
    let line = format!("{} of {} exposed", count(*exposed), plural(*audited, what));
    lines.push(if *exposed > 0 { style.bad(&line) } else { style.good(&line) });
    lines
}

/// A row of a check, and what is foreseen below it.
pub(super) fn checked(checked: &CheckedFunction, style: Style) -> Vec<String> {
    let CheckedFunction { function, patch, object, answer, refuses, because, observed, forecasts } = checked;
    let word = format!("{:22}", answer.words());
    let is_foreseen = forecasts.iter().any(|forecast| forecast.kind == ForecastKind::Refused);
    let word = match (refuses, observed) {
        (true, _) if !is_foreseen => style.bad(&word),
        (false, Some(observed)) if observed.calls > 0 => style.good(&word),
        _ => style.doubtful(&word),
    };
    let patch = patch.as_ref().map_or_else(String::new, |patch| format!(" <- {patch}"));
    let object = if object == "vmlinux" { String::new() } else { format!(" [{object}]") };
    let state = observed.as_ref().and_then(|observed| observed.state.as_ref());
    let state = state.map_or_else(String::new, |state| format!("; {}", super::finding::words(state)));
    let mut lines = vec![format!("{function}{object}{patch}: {word} {because}{state}")];
    lines.extend(forecasts.iter().flat_map(|forecast| foreseen(forecast, style)));
    lines
}

/// Stacks that are shown of those that a transition would wait for.
const HOLDERS_SHOWN: usize = 3;

fn foreseen(forecast: &Forecast, style: Style) -> Vec<String> {
    let Forecast { kind, because, help, handlers, holders } = forecast;
    let word = match kind {
        ForecastKind::Refused => style.bad(kind.words()),
        ForecastKind::MayHang | ForecastKind::FallsSilent | ForecastKind::Unseen => {
            style.doubtful(kind.words())
        }
        ForecastKind::Delays | ForecastKind::Waits => kind.words().to_owned(),
    };
    let handlers = match handlers.as_slice() {
        [] => String::new(),
        handlers => format!(" ({})", phrase::handlers(handlers)),
    };
    let help = help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
    let mut lines = vec![format!("    {word}: {because}{handlers}{help}")];
    for Holder { task, stack, .. } in holders.iter().take(HOLDERS_SHOWN) {
        let Some(task) = task else { continue };
        let frames: Vec<_> = stack.iter().filter_map(|frame| frame.symbol.as_deref()).collect();
        lines.push(style.faint(&format!("        {}[{}]: {}", task.comm, task.pid, frames.join(" < "))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcu_watch_core::probe::Mechanism;

    fn audited(verdict: AuditVerdict, observed: Option<Observed>) -> AuditedFunction {
        AuditedFunction {
            function: "arch_cpu_idle".into(),
            module: None,
            verdict,
            traced: 1,
            caller: Some("default_idle_call".into()),
            observed,
            reason: None,
        }
    }

    fn observed(calls: u64, unwatched: u64) -> Observed {
        let (mechanism, handlers) = (Mechanism::Fentry, Vec::new());
        Observed { mechanism, calls, unwatched, seconds: 3.0, state: None, handlers }
    }

    #[test]
    fn a_row_says_how_often_and_who_called() {
        let row = row(&audited(AuditVerdict::Exposed, Some(observed(1180, 1180))), false, Style::default());
        assert_eq!(
            row.unwrap(),
            "exposed      arch_cpu_idle                    1,180 of 1,180 calls with RCU off; by fentry \
             (traced 1 call by default_idle_call)"
        );
    }

    #[test]
    fn what_is_watched_is_for_those_who_ask() {
        let watched = audited(AuditVerdict::Watched, Some(observed(7, 0)));
        assert_eq!(row(&watched, false, Style::default()), None);
        assert!(row(&watched, true, Style::default()).unwrap().contains("7 calls in 3 s"));
    }

    #[test]
    fn the_last_line_is_the_sum() {
        let totals = AuditTotals {
            exposed: 3,
            audited: 38_252,
            suspects: 40,
            rcu_internal: 1,
            unconfirmed: 0,
            eqs_entries: 1,
            traced_calls: 9,
            gaps: 0,
            way: AuditWay::FunctionTracer,
        };
        let lines = end(&totals, Style::default());
        assert_eq!(lines.last().unwrap(), "3 of 38,252 traceable functions exposed");
        assert_eq!(lines[0], "  traced: 9 calls, 1 entry into an EQS");
        let closed = end(&AuditTotals { way: AuditWay::Candidates, audited: 9, ..totals }, Style::default());
        assert_eq!(closed.last().unwrap(), "3 of 9 known candidates exposed");
    }
}
