//! Which findings there are, and which there are not.

use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism};
use rcu_watch_core::report::finding::StateReport;
use rcu_watch_core::report::{FindingReport, Message};
use rcu_watch_core::{RuleId, Severity};

use super::super::stream::Stream;
use super::{Verdict, ok_or};

/// A finding as a scenario knows it beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub rule: RuleId,
    pub severity: Severity,
    pub function: &'static str,
    /// Kind and name of a handler that it names; `None`: it names none.
    pub handler: Option<(HandlerKind, &'static str)>,
    /// W=0 N=0 M=0.
    pub at_eqs: bool,
    /// `None`: whichever.
    pub mechanism: Option<Mechanism>,
}

impl Finding {
    pub(crate) fn is_in(&self, stream: &Stream) -> Verdict {
        ok_or(findings(stream).any(|found| self.matches(found)), || {
            let seen: Vec<String> = findings(stream).map(shown).collect();
            format!("no finding {self:?}; there were {}: {}", seen.len(), seen.join("; "))
        })
    }

    fn matches(&self, found: &FindingReport) -> bool {
        let Self { rule, severity, function, handler, at_eqs, mechanism } = *self;
        let handler = match handler {
            Some((kind, name)) => {
                found.handlers.iter().any(|seen| seen.kind == kind && is_called(seen, name))
            }
            None => found.handlers.is_empty(),
        };
        found.rule == rule
            && found.severity == severity
            && found.function == function
            && handler
            && (!at_eqs || found.state.as_ref().is_some_and(is_eqs))
            && mechanism.is_none_or(|mechanism| found.mechanism == Some(mechanism))
    }
}

fn is_eqs(state: &StateReport) -> bool {
    !state.watching && state.nesting.0 == 0 && state.nmi_nesting.raw.0 == 0
}

/// A `*` at the end stands for whatever follows: where a kernel has endbr64, a kprobe at a function's start is not at
/// its first byte.
fn is_called(seen: &Handler, name: &str) -> bool {
    name.strip_suffix('*').map_or(seen.name == name, |start| seen.name.starts_with(start))
}

fn findings(stream: &Stream) -> impl Iterator<Item = &FindingReport> {
    stream.messages.iter().filter_map(|message| match message {
        Message::Finding(found) => Some(&**found),
        _ => None,
    })
}

/// None of those that count.
pub(super) fn none(stream: &Stream, counts: impl Fn(&FindingReport) -> bool) -> Verdict {
    let found: Vec<String> = findings(stream).filter(|found| counts(found)).map(shown).collect();
    ok_or(found.is_empty(), || format!("a false alarm: {}", found.join("; ")))
}

pub(super) fn only_synthetic(stream: &Stream) -> Verdict {
    let found: Vec<&FindingReport> = findings(stream).collect();
    let only = matches!(found.as_slice(), [only] if only.synthetic);
    ok_or(only, || format!("not one synthetic finding: {found:?}"))
}

pub(super) fn fired(stream: &Stream, rule: RuleId, severity: Severity) -> Verdict {
    let fits = |found: &FindingReport| found.rule == rule && found.severity == severity;
    ok_or(findings(stream).any(fits), || {
        let seen: Vec<String> = findings(stream).map(shown).collect();
        format!("no {severity} {rule}; there were {}", seen.join("; "))
    })
}

fn shown(found: &FindingReport) -> String {
    let FindingReport { rule, severity, function, mechanism, handlers, state, .. } = found;
    let names: Vec<&str> = handlers.iter().map(|handler| handler.name.as_str()).collect();
    let by = mechanism.map_or("nothing", Mechanism::name);
    let state = state.as_ref().map_or_else(String::new, |state| {
        format!(" S={} N={} M={}", state.state, state.nesting, state.nmi_nesting.raw)
    });
    format!("{rule} {severity} {function} by {by} <- {names:?}{state}")
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::units::Counter;
    use serde_json::json;

    use super::*;

    const WANTED: Finding = Finding {
        rule: RuleId::HandlerUnwatched,
        severity: Severity::Error,
        function: "arch_cpu_idle",
        handler: Some((HandlerKind::Livepatch, "lab")),
        at_eqs: true,
        mechanism: Some(Mechanism::Fentry),
    };

    fn found() -> FindingReport {
        let found = json!({
            "id": 1, "rule": "RW001", "name": "handler-unwatched", "severity": "error", "because": "it ran",
            "function": "arch_cpu_idle", "point": "patched_function", "mechanism": "fentry",
            "handlers": [{ "kind": "livepatch", "name": "lab", "reliance": "relies", "ours": false }],
            "state": {
                "S": "0x0", "N": "0x0", "M": { "raw": "0x0", "base": "eqs", "depth": 0 }, "P": "0x0",
                "watching": false, "vantage": "direct", "underlying_watching": false,
                "hardirq": false, "nmi": false,
            },
            "guards": [], "stack": [], "fingerprint": "0",
        });
        serde_json::from_value(found).unwrap()
    }

    #[test]
    fn a_finding_counts_only_with_everything_that_is_wanted() {
        assert!(WANTED.matches(&found()));
        let changes: [fn(&mut FindingReport); 8] = [
            |found| found.rule = RuleId::ExposedFunction,
            |found| found.severity = Severity::Warning,
            |found| found.function = "default_idle".into(),
            |found| found.mechanism = Some(Mechanism::KprobeFtrace),
            |found| found.handlers.clear(),
            |found| found.handlers[0].name = "other".into(),
            |found| found.state.as_mut().unwrap().watching = true,
            |found| found.state.as_mut().unwrap().nmi_nesting.raw = Counter(1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = found();
            change(&mut changed);
            assert!(!WANTED.matches(&changed), "{number}: {changed:?}");
        }
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_handlers_name() {
        let wanted = |name| Finding { handler: Some((HandlerKind::Livepatch, name)), ..WANTED };
        assert!(wanted("la*").matches(&found()));
        assert!(!wanted("la").matches(&found()) && !wanted("lb*").matches(&found()));
    }
}
