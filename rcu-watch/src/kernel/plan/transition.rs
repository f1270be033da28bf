//! The functions that tell RCU of irqs, NMIs and exceptions, by name.
//!
//! Up to 5.7 they are plain functions; `rcu_nmi_enter` and `ist_enter` are on the kprobe blacklist from about 5.1,
//! and take fentry from 5.5. From 5.8 on all but the irqson variants are noinstr, where nobody can hook them.

use rcu_watch_core::probe::Point;

/// A function that RCU is told by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
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
pub(crate) const TRANSITIONS: &[Transition] = &[
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

/// Whether RCU does not watch yet when this function is entered.
#[must_use]
pub(crate) fn is_way_in(function: &str) -> bool {
    TRANSITIONS.iter().any(|transition| transition.function == function && transition.end.is_some())
}

/// Whether #BP goes through it on its way to the kprobe that it is for, or back (arch/x86/kernel/traps.c:do_int3 up to 5.7).
///
/// An int3 there raises the next one without end. Kernels before 5.1 let anybody put one there, and before 5.7 on the way
/// back: c13324a505c7 ("x86/kprobes: Prohibit probing on functions before kprobe_int3_handler()") and "x86/kprobes:
/// Prohibit probing on rcu_nmi_exit() and ist_exit()" put them on the blacklist.
pub(super) fn is_on_the_way_of_int3(function: &str) -> bool {
    matches!(function, "ist_enter" | "ist_exit" | "rcu_nmi_enter" | "rcu_nmi_exit")
}

/// Whether irqs go through it: the irqson variants are for callers with interrupts on, which are few.
pub(super) fn is_of_every_irq(function: &str) -> bool {
    !function.ends_with("_irqson")
}
