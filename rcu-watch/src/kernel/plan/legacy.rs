//! Plans the probes on the functions that tell RCU of irqs, NMIs and exceptions, where a kernel lets them be hooked.
//!
//! Those on the way in are entered while RCU does not watch: a probe there is itself the hazard, and needs
//! `--exposed`. A function that somebody else's handler is on is planned with the other such functions, not here.

use rcu_watch_core::probe::Mechanism;
use rcu_watch_core::report::header::PassedOver;

use crate::kernel::plan::attach_plan::PointChoice;
use crate::kernel::plan::candidate::Function;
use crate::kernel::plan::planner::{Chosen, Planner};
use crate::kernel::plan::transition::{TRANSITIONS, Transition};

const HAZARD: &str = "it is entered with RCU off, where a probe is itself the hazard; --exposed allows it";

pub(super) fn plan(planner: &mut Planner<'_>) {
    for transition in TRANSITIONS {
        let name = transition.function;
        let is_there = planner.facts.symbols.as_ref().is_ok_and(|symbols| symbols.has(name));
        let is_handled = planner.facts.handled.site(name).is_some_and(|site| !site.handlers.is_empty());
        if is_there && !is_handled {
            one(planner, *transition);
        }
    }
}

fn one(planner: &mut Planner<'_>, transition: Transition) {
    let Transition { function: name, point, end } = transition;
    let mut passed_over = Vec::new();
    let chosen = planner.try_function(Function { name, site: None }, &mut passed_over);
    let Some(chosen) = chosen else {
        // Its absence is told once for all of them, with what shows these points instead.
        return;
    };
    let site = Some(name.to_owned());
    if end.is_some() && !planner.request.exposed {
        let mechanism = chosen.mechanism;
        passed_over.push(PassedOver { mechanism, symbol: name.to_owned(), reason: HAZARD.to_owned() });
        planner.plan.rows.push(PointChoice { point, site, required: false, chosen: None, passed_over });
        return;
    }
    let at_end = match chosen.mechanism {
        Mechanism::Fentry => Mechanism::Fexit,
        _ => Mechanism::Kretprobe,
    };
    let index = planner.add(point, chosen, None);
    planner.plan.rows.push(PointChoice {
        point,
        site: site.clone(),
        required: false,
        chosen: Some(index),
        passed_over,
    });
    if let Some(point) = end {
        let index = planner.add(point, Chosen::new(at_end, name.to_owned()), None);
        // Behind it RCU watches, whatever it was before.
        planner.plan.probes[index].probe.is_rcu_internal = false;
        planner.plan.rows.push(PointChoice {
            point,
            site,
            required: false,
            chosen: Some(index),
            passed_over: Vec::new(),
        });
    }
}
