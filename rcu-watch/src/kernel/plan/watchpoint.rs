//! Plans the watchpoints on S: whether this machine's can be used, and on which CPUs.
//!
//! They cost two exceptions an idle visit and two an irq out of idle, so they are only set when asked for, and
//! CPUs that were set aside for somebody's latency get none unless named. Only x86-64's are used, and only where the way
//! into #DB does not write S with them on (`facts/watchpoint.rs`): they trap after the write. Those of arm64 trap before
//! it, and stepping over an atomic there may never end.

use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::header::{BlindSpot, PassedOver};
use rcu_watch_core::units::CpuId;

use crate::kernel::facts::Facts;
use crate::kernel::facts::layout::Layout;
use crate::kernel::plan::attach_plan::{PlannedProbe, PointChoice};
use crate::kernel::plan::planner::Planner;
use crate::kernel::plan::request::{Request, WatchpointMode};
use crate::kernel::plan::transition;
use crate::kernel::read::support::Reason;

/// Points that a watchpoint shows.
pub(super) const POINTS: [Point; 2] = [Point::IrqEnter, Point::IrqExit];

const WHAT: &str = "idle and irq entry";
const NOINSTR: &str = "noinstr code, where neither a kprobe nor fentry can sit";

/// Why watchpoints that were asked for cannot be had: a run that is to see what they show is refused.
pub(super) fn refusal(facts: &Facts, request: &Request) -> Option<Reason> {
    if request.watchpoints == WatchpointMode::Off {
        return None;
    }
    let Reason { why, .. } = facts.no_watchpoint()?;
    Some(Reason::with_remedy(format!("watchpoints are {why}"), "leave --watchpoints out"))
}

fn symbol(planner: &Planner<'_>) -> String {
    planner.facts.layout.as_ref().map_or_else(|_| "S".to_owned(), Layout::state_member)
}

/// Adds the watchpoint and the points that it shows, or the points and why nothing shows them.
pub(super) fn plan(planner: &mut Planner<'_>) {
    let symbol = symbol(planner);
    let refusal = match (planner.facts.no_watchpoint(), planner.request.watchpoints) {
        (Some(reason), _) => Some(reason.to_string()),
        (None, WatchpointMode::Off) => Some(format!("{NOINSTR}; --watchpoints sample shows it")),
        (None, WatchpointMode::Sample | WatchpointMode::Always) => None,
    };
    let mut passed_over = Vec::new();
    let mut chosen = None;
    match refusal {
        Some(reason) => {
            passed_over.push(PassedOver { mechanism: Mechanism::Watchpoint, symbol, reason });
        }
        None => {
            choose_cpus(planner);
            chosen = (!planner.plan.watchpoint_cpus.is_empty()).then(|| add(planner, symbol));
        }
    }
    for point in POINTS {
        let passed_over = passed_over.clone();
        planner.plan.rows.push(PointChoice { point, site: None, required: false, chosen, passed_over });
    }
}

fn add(planner: &mut Planner<'_>, symbol: String) -> usize {
    planner.plan.probes.push(PlannedProbe {
        offset: 0,
        type_id: None,
        module: None,
        probe: Probe {
            point: Point::IrqEnter,
            mechanism: Mechanism::Watchpoint,
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
            symbol,
        },
    });
    planner.plan.probes.len() - 1
}

/// All chosen CPUs but those that were set aside, which must be named.
fn choose_cpus(planner: &mut Planner<'_>) {
    let facts = planner.facts;
    let are_named = !planner.request.cpus.is_empty();
    let set_aside = |cpu: &CpuId| facts.nohz_full.contains(cpu) || facts.isolated.contains(cpu);
    let (aside, watched): (Vec<CpuId>, Vec<CpuId>) =
        planner.plan.cpus.iter().copied().partition(|cpu| !are_named && set_aside(cpu));
    planner.plan.watchpoint_cpus = watched;
    if !aside.is_empty() {
        let list = aside.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        planner.plan.blind_spots.push(BlindSpot {
            what: format!("{WHAT} on cpu {list}"),
            reason: "nohz_full or isolated: no watchpoint is set there unasked".to_owned(),
            remedy: Some(format!("name it with -c {list}")),
        });
    }
}

/// What stays unseen with and without watchpoints.
pub(super) fn blind_spots(planner: &mut Planner<'_>) {
    let shows_irqs = |row: &PointChoice| {
        let function = row.site.as_deref().is_some_and(transition::is_of_every_irq);
        POINTS.contains(&row.point) && row.chosen.is_some() && function
    };
    if planner.plan.watchpoint_cpus.is_empty() && planner.plan.rows.iter().any(shows_irqs) {
        return;
    }
    let spot = if planner.plan.watchpoint_cpus.is_empty() {
        let (reason, remedy) = match planner.facts.no_watchpoint() {
            Some(reason) => (format!("{NOINSTR}; a watchpoint would see it, and is {reason}"), None),
            None => (NOINSTR.to_owned(), Some("--watchpoints sample".to_owned())),
        };
        BlindSpot { what: WHAT.to_owned(), reason, remedy }
    } else {
        BlindSpot {
            what: "what NMIs, #DB and #MC write".to_owned(),
            reason: "the processor's watchpoints are off from their first instruction".to_owned(),
            remedy: None,
        }
    };
    planner.plan.blind_spots.push(spot);
}
