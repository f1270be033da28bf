//! The block at start: where this runs, who has handlers now, what is watched, and what is not seen.

use std::collections::{BTreeMap, BTreeSet};

use rcu_watch_core::probe::{HandlerKind, Point};
use rcu_watch_core::report::Header;
use rcu_watch_core::report::header::{BlindSpot, HandledSite, Layout, PlannedPoint, Proof};

use crate::sink::text::phrase::{self, plural};

/// Functions that are named without `-v`.
const EXPOSED: usize = 3;

/// Blind spots that are shown without `-v`.
const BLIND_SPOTS: usize = 6;

pub(super) fn lines(header: &Header, verbose: bool) -> Vec<String> {
    let mut lines = vec![title(header)];
    if verbose {
        lines.extend(header.layout.iter().flat_map(layout));
    }
    for pid in &header.other_instances {
        lines.push(format!("another rcu-watch runs as pid {pid}; its programs count as ours"));
    }
    lines.push(handlers(&header.handlers));
    if !matches!(header.command.as_str(), "probes" | "audit" | "check") {
        lines.push(watching(&header.plan, header.cpus.len()));
    }
    lines.extend(not_seen(&header.blind_spots, verbose));
    lines.extend(exposed(header, verbose));
    lines
}

pub(super) fn title(header: &Header) -> String {
    let layout = match &header.layout {
        Some(Layout { generation, calibrated: true, .. }) => format!("layout {generation} calibrated"),
        Some(Layout { generation, .. }) => format!("layout {generation} not calibrated"),
        None => "layout unknown".to_owned(),
    };
    let cpus = plural(header.cpus.len() as u64, "CPU");
    format!("{} {} on {}, {cpus}, {layout}", header.tool, header.version, header.kernel.release)
}

fn layout(layout: &Layout) -> Vec<String> {
    let mut lines = vec![format!(
        "layout: S is {} (watching {}); preempt_count has NMI {} and hardirq {}",
        layout.state_member, layout.watching_mask, layout.nmi_mask, layout.hardirq_mask
    )];
    lines.extend(layout.calibration.iter().map(|saw| format!("calibration: {saw}")));
    lines
}

/// `handlers now: livepatch lp_idle (1 function), bpf trace_open (3 functions), kprobes 0`
fn handlers(sites: &[HandledSite]) -> String {
    let mut by_kind: BTreeMap<HandlerKind, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for site in sites {
        for handler in site.handlers.iter().filter(|handler| !handler.ours) {
            let (names, functions) = by_kind.entry(handler.kind).or_default();
            names.insert(&handler.name);
            functions.insert(&site.function);
        }
    }
    if by_kind.is_empty() {
        return "handlers now: none but ours".to_owned();
    }
    let groups = by_kind.into_iter().map(|(kind, (names, functions))| {
        let functions = plural(functions.len() as u64, "function");
        let kind = phrase::kind(kind);
        if names.len() <= 3 {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            format!("{kind} {names} ({functions})")
        } else {
            format!("{} {kind} ({functions})", names.len())
        }
    });
    format!("handlers now: {}", groups.collect::<Vec<_>>().join("; "))
}

/// `watching: handlers 10/10 sites, 8 fired; checkpoint 16/16 fires; nmi_enter 16/16 not yet seen`
fn watching(plan: &[PlannedPoint], cpus: usize) -> String {
    let is_handler =
        |point: &&PlannedPoint| matches!(point.point, Point::PatchedFunction | Point::FtraceFunction);
    let mut parts = Vec::new();
    let sites: Vec<_> = plan.iter().filter(is_handler).collect();
    if !sites.is_empty() {
        parts.push(group("handlers", &sites));
    }
    let victims: Vec<_> = attached(plan.iter().filter(|point| point.point == Point::IdleVictim)).collect();
    if !victims.is_empty() {
        parts.push(group("idle functions", &victims));
    }
    let others = plan.iter().filter(|point| !is_handler(point) && point.point != Point::IdleVictim);
    let mut by_point: Vec<(Point, Vec<Proof>)> = Vec::new();
    for point in attached(others) {
        let proof = point.chosen.as_ref().map_or(Proof::NotAttached, |chosen| chosen.proof);
        match by_point.iter_mut().find(|(other, _)| *other == point.point) {
            Some((_, proofs)) => proofs.push(proof),
            None => by_point.push((point.point, vec![proof])),
        }
    }
    parts.extend(by_point.into_iter().map(|(point, proofs)| of_point(point, &proofs, cpus)));
    if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    format!("watching: {}", parts.join("; "))
}

/// A point may have several probes: what is wrong with one is said, and one that fires proves the point.
fn of_point(point: Point, proofs: &[Proof], cpus: usize) -> String {
    let name = point.name();
    let has = |proof: Proof| proofs.contains(&proof);
    match [Proof::Failed, Proof::Silent, Proof::Proven].into_iter().find(|proof| has(*proof)) {
        Some(Proof::Failed) => format!("{name} FAILED to attach"),
        Some(proof) => format!("{name} {cpus}/{cpus} {}", proven(proof)),
        None => format!("{name} {cpus}/{cpus} {}", proven(Proof::Unproven)),
    }
}

fn attached<'a>(points: impl Iterator<Item = &'a PlannedPoint>) -> impl Iterator<Item = &'a PlannedPoint> {
    points.filter(|point| point.chosen.is_some())
}

fn group(what: &str, sites: &[&PlannedPoint]) -> String {
    let proofs = || sites.iter().filter_map(|site| site.chosen.as_ref()).map(|chosen| chosen.proof);
    let on = proofs().filter(|proof| !matches!(proof, Proof::Failed | Proof::NotAttached)).count();
    let fired = proofs().filter(|proof| *proof == Proof::Proven).count();
    format!("{what} {on}/{} sites, {fired} fired", sites.len())
}

pub(super) const fn proven(proof: Proof) -> &'static str {
    match proof {
        Proof::NotAttached => "not attached",
        Proof::Proven => "fires",
        Proof::Unproven => "not yet seen",
        Proof::Silent => "SILENT",
        Proof::Failed => "FAILED to attach",
    }
}

pub(super) fn not_seen(spots: &[BlindSpot], verbose: bool) -> Vec<String> {
    // Blind spots with the same reason share a line.
    let mut groups: Vec<(Vec<&str>, &BlindSpot)> = Vec::new();
    for spot in spots {
        let same = |(_, first): &&mut (Vec<&str>, &BlindSpot)| {
            first.reason == spot.reason && first.remedy == spot.remedy
        };
        match groups.iter_mut().find(same) {
            Some((whats, _)) => whats.push(&spot.what),
            None => groups.push((vec![&spot.what], spot)),
        }
    }
    let shown = if verbose { groups.len() } else { BLIND_SPOTS };
    let mut lines: Vec<_> = groups
        .iter()
        .take(shown)
        .map(|(whats, spot)| {
            let what = whats.join(", ");
            match &spot.remedy {
                Some(remedy) => format!("not seen: {what} ({}) -> {remedy}", spot.reason),
                None => format!("not seen: {what} ({})", spot.reason),
            }
        })
        .collect();
    if groups.len() > shown {
        lines.push(format!("not seen: {} more; -v lists them", groups.len() - shown));
    }
    lines
}

/// Idle functions that could be probed and are left alone.
fn exposed(header: &Header, verbose: bool) -> Option<String> {
    let alone = |point: &&PlannedPoint| point.point == Point::IdleVictim && point.chosen.is_none();
    let names: Vec<_> = header.plan.iter().filter(alone).filter_map(|point| point.site.as_deref()).collect();
    let handled = |name: &&&str| header.handlers.iter().any(|site| site.function == **name);
    let with = names.iter().filter(handled).count();
    (!names.is_empty()).then(|| {
        let have = match with {
            0 => "none has a handler".to_owned(),
            1 => "1 has a handler".to_owned(),
            n => format!("{n} have handlers"),
        };
        let (functions, run) = if names.len() == 1 { ("function", "runs") } else { ("functions", "run") };
        let shown = if verbose { names.len() } else { names.len().min(EXPOSED) };
        let more = match names.len() - shown {
            0 => String::new(),
            more => format!(" and {more} more (-v)"),
        };
        format!(
            "{} {functions} of this kernel {run} with RCU off; {have}. Avoid patching or tracing them: {}{more}",
            names.len(),
            names[..shown].join(", ")
        )
    })
}
