//! Plans the probes behind NMI and exception entry, and those on CPUs that RCU takes for offline.
//!
//! None of them is in an EQS of ours: NMIs and exceptions were counted when they get there. The functions of a
//! CPU that goes offline are no place for a probe unless asked for, as those of idle are.

use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::report::header::PassedOver;

use crate::kernel::plan::attach_plan::PointChoice;
use crate::kernel::plan::candidate::Function;
use crate::kernel::plan::planner::Planner;
use crate::kernel::plan::points;
use crate::kernel::read::support::Support;

pub(super) fn plan(planner: &mut Planner<'_>) {
    for &(point, name) in points::ENTRY {
        entry(planner, point, name);
    }
    offline(planner);
}

/// By fentry or not at all: most are on the kprobe blacklist, and what they are for is in their arguments.
fn entry(planner: &mut Planner<'_>, point: Point, name: &str) {
    let function = Function { name, site: None };
    let support = function.fentry(planner.facts, planner.request.allow_fentry);
    let hit_by_ours = name == points::DEBUG_HANDLER && !planner.plan.watchpoint_cpus.is_empty();
    let reason = match support {
        _ if hit_by_ours => Some("every watchpoint of ours would hit it".to_owned()),
        Support::Yes => None,
        Support::No(reason) => Some(reason.to_string()),
    };
    let chosen = reason.is_none().then(|| planner.add_function(point, Mechanism::Fentry, name));
    let pass_over = |reason| PassedOver { mechanism: Mechanism::Fentry, symbol: name.to_owned(), reason };
    planner.plan.rows.push(PointChoice {
        point,
        site: Some(name.to_owned()),
        required: false,
        chosen,
        passed_over: reason.map(pass_over).into_iter().collect(),
    });
}

fn offline(planner: &mut Planner<'_>) {
    let point = Point::CpuOffline;
    let mut passed_over = Vec::new();
    if !planner.request.exposed {
        passed_over.push(PassedOver {
            mechanism: Mechanism::Fentry,
            symbol: "functions of CPUs that go offline".to_owned(),
            reason: "grace periods do not wait for a probe there; --exposed allows it".to_owned(),
        });
    } else {
        for &name in points::OFFLINE {
            if planner.facts.handled.site(name).is_some_and(|site| !site.handlers.is_empty()) {
                continue;
            }
            let mut reasons = Vec::new();
            match planner.try_function(Function { name, site: None }, &mut reasons) {
                Some(chosen) => {
                    let chosen = Some(planner.add(point, chosen, None));
                    let site = Some(name.to_owned());
                    let row = PointChoice { point, site, required: false, chosen, passed_over: reasons };
                    planner.plan.rows.push(row);
                }
                None => passed_over.append(&mut reasons),
            }
        }
        if planner.plan.rows.iter().any(|row| row.point == point) {
            return;
        }
    }
    planner.plan.rows.push(PointChoice { point, site: None, required: false, chosen: None, passed_over });
}
