//! The attach plan for people: a line a point, and why each other candidate was passed over.

use rcu_watch_core::report::header::PlannedPoint;
use rcu_watch_core::report::{LivepatchReport, PlanChange};

use crate::sink::text::block::proven;
use crate::sink::text::phrase::{self, At};
use crate::sink::text::style::Style;

pub(super) fn lines(plan: &[PlannedPoint], style: Style) -> Vec<String> {
    let width = plan.iter().map(|point| name(point).len()).max().unwrap_or(0);
    plan.iter()
        .flat_map(|point| {
            let chosen = match &point.chosen {
                Some(chosen) => format!("{} {}", chosen.mechanism.name(), chosen.symbol),
                None => style.doubtful("not visible here"),
            };
            let required = if point.required { "  required" } else { "" };
            let head = format!("{:width$}  {chosen}{required}", name(point));
            let reasons = point.passed_over.iter().map(|over| {
                style.faint(&format!("    not {} {}: {}", over.mechanism.name(), over.symbol, over.reason))
            });
            std::iter::once(head).chain(reasons).collect::<Vec<_>>()
        })
        .collect()
}

fn name(point: &PlannedPoint) -> String {
    match &point.site {
        Some(site) => format!("{} {site}", point.point.name()),
        None => point.point.name().to_owned(),
    }
}

pub(super) fn changed(at: At, change: &PlanChange) -> String {
    let now = change.point.chosen.as_ref().map_or("not watched", |chosen| proven(chosen.proof));
    let handlers = if change.handlers.is_empty() {
        String::new()
    } else {
        format!("; on it: {}", phrase::handlers(&change.handlers))
    };
    format!("{} plan: {} {now}: {}{handlers}", phrase::at(at), name(&change.point), change.because)
}

pub(super) fn livepatch(at: At, livepatch: &LivepatchReport) -> String {
    let LivepatchReport { patch, event, to_patched, functions, because, took_ns } = livepatch;
    let functions = functions.join(", ");
    let took = took_ns.map_or_else(String::new, |took| format!(" after {:.1} s", took.0 as f64 / 1e9));
    let because = because.as_ref().map_or_else(String::new, |because| format!(": {because}"));
    let phrase = event.phrase(*to_patched);
    format!("{} livepatch {patch} ({functions}): {phrase}{took}{because}", phrase::at(at))
}
