//! Plans the probes on the functions that tell RCU of irqs, NMIs and exceptions, where a kernel lets them be hooked.
//!
//! Up to 5.7 they are plain functions; `rcu_nmi_enter` and `ist_enter` are on the kprobe blacklist from about 5.1,
//! and take fentry from 5.5. From 5.8 on all but the irqson variants are noinstr. Those on the way in are entered
//! while RCU does not watch: a probe there is itself the hazard, and needs `--exposed`. A site that somebody else's
//! handler is on is watched as such, and not here.

use rcu_watch_core::probe::{Mechanism, Point};
use rcu_watch_core::report::header::PassedOver;

use crate::kernel::candidate::Function;
use crate::kernel::plan::PlannedRow;
use crate::kernel::select::{Chosen, Planner};

/// A function that RCU is told by.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    pub function: &'static str,
    pub point: Point,
    /// What its end shows: from there on RCU must watch. `None`: it is on the way out, and its end shows nothing.
    pub end: Option<Point>,
}

const fn way_in(function: &'static str, point: Point, end: Point) -> Transition {
    Transition { function, point, end: Some(end) }
}

const fn way_out(function: &'static str, point: Point) -> Transition {
    Transition { function, point, end: None }
}

/// All of them, each way in before its way out. `rcu_nmi_enter` is also what irqs come through: its end shows what
/// theirs does.
pub const TRANSITIONS: &[Transition] = &[
    way_in("rcu_irq_enter", Point::IrqEnter, Point::IrqEnter),
    way_out("rcu_irq_exit", Point::IrqExit),
    way_in("rcu_nmi_enter", Point::NmiEnter, Point::IrqEnter),
    way_out("rcu_nmi_exit", Point::NmiExit),
    way_in("ist_enter", Point::IstEnter, Point::IstEnter),
    way_out("ist_exit", Point::IstExit),
    way_in("rcu_irq_enter_irqson", Point::IrqEnter, Point::IrqEnter),
    way_out("rcu_irq_exit_irqson", Point::IrqExit),
    way_in("ct_irq_enter_irqson", Point::IrqEnter, Point::IrqEnter),
    way_out("ct_irq_exit_irqson", Point::IrqExit),
];

const HAZARD: &str = "it is entered with RCU off, where a probe is itself the hazard; --exposed allows it";

/// Whether RCU does not watch yet when this function is entered.
#[must_use]
pub fn is_way_in(function: &str) -> bool {
    TRANSITIONS.iter().any(|transition| transition.function == function && transition.end.is_some())
}

/// Whether irqs go through it: the irqson variants are for callers with interrupts on, which are few.
pub(super) fn is_of_every_irq(function: &str) -> bool {
    !function.ends_with("_irqson")
}

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
        planner.plan.rows.push(PlannedRow { point, site, required: false, chosen: None, passed_over });
        return;
    }
    let at_end = match chosen.mechanism {
        Mechanism::Fentry => Mechanism::Fexit,
        _ => Mechanism::Kretprobe,
    };
    let index = planner.add(point, chosen, None);
    planner.plan.rows.push(PlannedRow {
        point,
        site: site.clone(),
        required: false,
        chosen: Some(index),
        passed_over,
    });
    if let Some(point) = end {
        let index = planner.add(point, Chosen { mechanism: at_end, symbol: name.to_owned() }, None);
        // Behind it RCU watches, whatever it was before.
        planner.plan.probes[index].probe.is_rcu_internal = false;
        planner.plan.rows.push(PlannedRow {
            point,
            site,
            required: false,
            chosen: Some(index),
            passed_over: Vec::new(),
        });
    }
}
