//! The table of rules: one row each, and all that is known of a rule but its condition.
//!
//! Whatever lists rules or asks something of one reads it here: the pages, the command line, a run's coverage, the
//! guards, the sinks. So a new rule is a row, its page in `pages.rs`, and its condition. The hard thing is `needs`,
//! which says again what the conditions decide: `tests.rs` walks the model to hold the one to the other.

use alloc::borrow::Cow;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use strum::{EnumCount, VariantArray};

use super::pages::{self, Page};
use crate::model::kernel::KernelModel;
use crate::probe::{Mechanism, Point, Probe};

/// What is known of a rule.
#[derive(Debug)]
pub struct Rule {
    /// The rule that this row is of.
    pub id: RuleId,
    /// The id as people write it: `RW001`.
    pub code: &'static str,
    /// `handler-unwatched`.
    pub name: &'static str,
    /// How bad a finding is, and where that depends on something, on what.
    pub severity: &'static str,
    /// Whether the condition judges on this kernel at all, by what is known of it.
    pub applies_to: fn(&KernelModel) -> bool,
    /// Points whose probes let the rule judge, watchpoints aside.
    pub needs: &'static [Point],
    /// A tracepoint at one of them does too, and not only a probe on a function.
    pub by_tracepoint: bool,
    /// A watchpoint on S lets the rule judge, whatever its point.
    pub by_watchpoint: bool,
    /// A finding says that a function ran with RCU not watching. Where no probe sits on a function, there was nothing
    /// to judge, and the rule is not exercised rather than blind.
    pub tells_unwatched: bool,
    /// A guard in a handler would have been an answer to a finding.
    pub asks_guards: bool,
    /// The kernel's own log shows such breaks.
    pub in_logs: bool,
    /// Why no probe of a run lets the rule judge, where none does.
    pub blind_reason: &'static str,
    /// What people read about it.
    pub page: Page,
}

impl Rule {
    /// No probe judges it: a look at the kernel's own lists does.
    #[must_use]
    pub const fn is_looked_for(&self) -> bool {
        self.needs.is_empty() && !self.by_watchpoint
    }

    /// Whether a hit of this probe can let the rule judge.
    #[must_use]
    pub fn sees(&self, probe: &Probe) -> bool {
        match probe.mechanism {
            Mechanism::Watchpoint => self.by_watchpoint,
            Mechanism::RawTracepoint => self.by_tracepoint && self.needs.contains(&probe.point),
            _ => self.needs.contains(&probe.point),
        }
    }
}

/// Makes the enum and the table from the same rows, so that neither lacks one and both have the same order.
macro_rules! rules {
    ($(Rule { id: $id:ident, code: $code:literal, name: $name:literal, $($field:ident: $value:expr),* $(,)? }),* $(,)?) => {
        /// A rule's stable id. Ids are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumCount, VariantArray)]
        pub enum RuleId {
            $(#[doc = concat!("`", $code, "`, ", $name, ".")] $id),*
        }

        /// Every rule, in the order of the ids.
        pub static RULES: &[Rule] =
            &[$(Rule { id: RuleId::$id, code: $code, name: $name, $($field: $value),* }),*];
    };
}

/// Functions that somebody has a handler on.
const HANDLED: &[Point] = &[Point::PatchedFunction, Point::FtraceFunction];
/// What can be told to run while RCU does not watch: not the entry code, whose breaks have rules of their own.
const EXPOSABLE: &[Point] = &[
    Point::EqsEnter,
    Point::EqsExit,
    Point::PatchedFunction,
    Point::KlpTransition,
    Point::FtraceFunction,
    Point::IdleVictim,
    Point::CpuOffline,
];
/// What an irq, an NMI or an exception may run.
const INTERRUPTS: &[Point] = &[
    Point::IrqEnter,
    Point::IrqExit,
    Point::NmiEnter,
    Point::NmiExit,
    Point::IstEnter,
    Point::IstExit,
    Point::PatchedFunction,
    Point::FtraceFunction,
    Point::IdleVictim,
];
/// Functions whose programs ask whether RCU takes the CPU for online.
const FUNCTIONS: &[Point] = &[
    Point::EqsEnter,
    Point::IrqExit,
    Point::NmiExit,
    Point::IstExit,
    Point::PatchedFunction,
    Point::KlpTransition,
    Point::FtraceFunction,
    Point::IdleVictim,
    Point::CpuOffline,
];

const fn always(_: &KernelModel) -> bool {
    true
}

const fn eqs_is_known(kernel: &KernelModel) -> bool {
    kernel.calibration.eqs
}

const NOBODY: &str = "nobody has a handler on a kernel function";
const NO_PROBE: &str = "this kernel lets no probe of this plan see it";
const NO_LOOK: &str = "no probe judges it, and this run did not look at the kernel's lists";
const NO_WATCHPOINT: &str = "seen by a watchpoint on the state word only; --watchpoints sample";

rules![
    Rule {
        id: HandlerUnwatched,
        code: "RW001",
        name: "handler-unwatched",
        severity: "error",
        applies_to: eqs_is_known,
        needs: HANDLED,
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: true,
        asks_guards: true,
        in_logs: true,
        blind_reason: NOBODY,
        page: pages::HANDLER_UNWATCHED,
    },
    Rule {
        id: IrqEnterNoEffect,
        code: "RW002",
        name: "irq-enter-no-effect",
        severity: "error",
        applies_to: eqs_is_known,
        needs: &[Point::IrqEnter],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: true,
        in_logs: true,
        blind_reason: NO_PROBE,
        page: pages::IRQ_ENTER_NO_EFFECT,
    },
    Rule {
        id: NmiEdge,
        code: "RW003",
        name: "nmi-edge",
        severity: "error where the kernel sets NMI bits on exception entry, else info",
        applies_to: |kernel| kernel.calibration.nmi_bits,
        needs: &[Point::NmiEnter, Point::IstEnter],
        by_tracepoint: true,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_PROBE,
        page: pages::NMI_EDGE,
    },
    Rule {
        id: ExceptionNotNmi,
        code: "RW004",
        name: "exception-not-nmi",
        severity: "info",
        applies_to: |kernel| kernel.calibration.nmi_bits && !kernel.ist_sets_nmi_bits,
        needs: &[Point::IstEnter],
        by_tracepoint: false,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_PROBE,
        page: pages::EXCEPTION_NOT_NMI,
    },
    Rule {
        id: IrqsOnInSection,
        code: "RW005",
        name: "irqs-on-in-section",
        severity: "error",
        applies_to: always,
        needs: INTERRUPTS,
        by_tracepoint: false,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: NO_WATCHPOINT,
        page: pages::IRQS_ON_IN_SECTION,
    },
    Rule {
        id: NestingImbalance,
        code: "RW006",
        name: "nesting-imbalance",
        severity: "error",
        applies_to: always,
        needs: Point::ALL,
        by_tracepoint: true,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: NO_PROBE,
        page: pages::NESTING_IMBALANCE,
    },
    Rule {
        id: StateDisagrees,
        code: "RW007",
        name: "state-disagrees",
        severity: "error",
        applies_to: eqs_is_known,
        needs: Point::ALL,
        by_tracepoint: true,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: NO_PROBE,
        page: pages::STATE_DISAGREES,
    },
    Rule {
        id: LivepatchBypassed,
        code: "RW008",
        name: "livepatch-bypassed",
        severity: "error; warning where only int3 saw it",
        applies_to: eqs_is_known,
        needs: HANDLED,
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: true,
        asks_guards: false,
        in_logs: true,
        blind_reason: NOBODY,
        page: pages::LIVEPATCH_BYPASSED,
    },
    Rule {
        id: EqsWindowHit,
        code: "RW009",
        name: "eqs-window-hit",
        severity: "info",
        applies_to: always,
        needs: INTERRUPTS,
        by_tracepoint: true,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_PROBE,
        page: pages::EQS_WINDOW_HIT,
    },
    Rule {
        id: UncountedContext,
        code: "RW010",
        name: "uncounted-context",
        severity: "error",
        applies_to: |kernel| kernel.calibration.nmi_bits && kernel.calibration.hardirq_bits,
        needs: INTERRUPTS,
        by_tracepoint: true,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: NO_PROBE,
        page: pages::UNCOUNTED_CONTEXT,
    },
    Rule {
        id: RcuOffline,
        code: "RW011",
        name: "rcu-offline",
        severity: "error with somebody's handler on it, else warning",
        applies_to: always,
        needs: FUNCTIONS,
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: "no probe of this plan runs on a CPU that goes offline",
        page: pages::RCU_OFFLINE,
    },
    Rule {
        id: UnknownWriter,
        code: "RW012",
        name: "unknown-writer",
        severity: "error",
        applies_to: |kernel| !kernel.text.writers.is_empty(),
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: true,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_WATCHPOINT,
        page: pages::UNKNOWN_WRITER,
    },
    Rule {
        id: HandlerDropped,
        code: "RW013",
        name: "handler-dropped",
        severity: "warning",
        applies_to: eqs_is_known,
        needs: HANDLED,
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: true,
        asks_guards: false,
        in_logs: true,
        blind_reason: NOBODY,
        page: pages::HANDLER_DROPPED,
    },
    Rule {
        id: SampledInEqs,
        code: "RW014",
        name: "sampled-in-eqs",
        severity: "error; info for functions that this kernel is known to run there",
        applies_to: |kernel| !kernel.text.uninstrumentable.is_empty(),
        needs: &[Point::NmiEnter],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_PROBE,
        page: pages::SAMPLED_IN_EQS,
    },
    Rule {
        id: ExposedFunction,
        code: "RW015",
        name: "exposed-function",
        severity: "warning",
        applies_to: eqs_is_known,
        needs: EXPOSABLE,
        by_tracepoint: true,
        by_watchpoint: false,
        tells_unwatched: true,
        asks_guards: true,
        in_logs: true,
        blind_reason: "no idle function is probed without --exposed",
        page: pages::EXPOSED_FUNCTION,
    },
    Rule {
        id: HandlerDead,
        code: "RW016",
        name: "handler-dead",
        severity: "error; info where its owner switched it off, or it went with its module",
        applies_to: always,
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_LOOK,
        page: pages::HANDLER_DEAD,
    },
    Rule {
        id: HandlerMissed,
        code: "RW017",
        name: "handler-missed",
        severity: "warning",
        applies_to: always,
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_LOOK,
        page: pages::HANDLER_MISSED,
    },
    Rule {
        id: TransitionStalled,
        code: "RW018",
        name: "transition-stalled",
        severity: "warning",
        applies_to: always,
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_LOOK,
        page: pages::TRANSITION_STALLED,
    },
    Rule {
        id: ConsistencyForced,
        code: "RW019",
        name: "consistency-forced",
        severity: "error; info where it was before the run",
        applies_to: always,
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: false,
        blind_reason: NO_LOOK,
        page: pages::CONSISTENCY_FORCED,
    },
    Rule {
        id: GracePeriodHeld,
        code: "RW020",
        name: "grace-period-held",
        severity: "warning",
        applies_to: always,
        needs: &[],
        by_tracepoint: false,
        by_watchpoint: false,
        tells_unwatched: false,
        asks_guards: false,
        in_logs: true,
        blind_reason: NO_LOOK,
        page: pages::GRACE_PERIOD_HELD,
    },
];

impl RuleId {
    /// Every rule, in the order of the ids.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// What is known of it.
    #[must_use]
    pub const fn row(self) -> &'static Rule {
        &RULES[self as usize]
    }

    /// The id as people write it: `RW001`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The rule's name: `handler-unwatched`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The rule of that id or name, in any case.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let is = |rule: &&Rule| text.eq_ignore_ascii_case(rule.code) || text.eq_ignore_ascii_case(rule.name);
        RULES.iter().find(is).map(|rule| rule.id)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for RuleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = Cow::<str>::deserialize(deserializer)?;
        let rule = RULES.iter().find(|rule| rule.code == code).map(|rule| rule.id);
        rule.ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&code), &"the id of a rule"))
    }
}

#[cfg(test)]
mod tests;
