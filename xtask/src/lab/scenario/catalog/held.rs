//! Who holds the grace period, told before the kernel complains of it.
//!
//! The stall timeout is set for the scenario and put back: emulated guests boot with a long one. A CPU that is held with
//! interrupts off answers nobody, so there the module lets go by itself.

use rcu_watch_core::{RuleId, Severity};
use xtask::plan::Step;

use super::super::Scenario;
use super::super::expect::{Check, Expect};
use super::steps::{ALL, SIGINT, await_text, run, signal, sleep, spawn, unload, wait, write};

const HOLD_ACT: &str = "/sys/module/lab_hold/parameters/act";
const STALL_TIMEOUT: &str = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout";
/// What the lab's guests boot with.
const PATIENT: &str = "120";

fn hold(seconds: &str) -> Step {
    Step::LoadModule { name: "lab_hold".into(), params: format!("seconds={seconds}") }
}

pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "grace-period-held",
        about: "a module stays in an RCU read-side section: the CPU and the function are told before the kernel's warning",
        kernels: ALL,
        modules: &["lab_hold"],
        heavy: true,
        steps: || {
            vec![
                hold("100"),
                write(STALL_TIMEOUT, "60"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                write(HOLD_ACT, "rcu"),
                await_text("watch", "\"RW020\""),
                write(HOLD_ACT, "release"),
                signal("watch", SIGINT),
                wait("watch"),
                write(STALL_TIMEOUT, PATIENT),
                run("after", "rcu-watch -d 4s -f json"),
                unload("lab_hold"),
            ]
        },
        expect: &[
            Expect::of("watch", Check::Stream),
            Expect::of("watch", Check::Fired { rule: RuleId::GracePeriodHeld, severity: Severity::Warning }),
            Expect::of("watch", Check::NoneOf(Severity::Error)),
            Expect::of("watch", Check::Line(&["\"grace_period\""])),
            Expect::of("after", Check::NoneOfRule(RuleId::GracePeriodHeld)),
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "irqs-held",
        about: "a CPU stands with interrupts off for a while: nothing breaks, and the run survives it",
        kernels: ALL,
        modules: &["lab_hold"],
        heavy: true,
        steps: || {
            vec![
                hold("15"),
                write(STALL_TIMEOUT, "21"),
                spawn("watch", "rcu-watch -f json"),
                await_text("watch", "\"header\""),
                write(HOLD_ACT, "irqs"),
                sleep(16),
                write(HOLD_ACT, "release"),
                await_text("watch", "\"heartbeat\""),
                signal("watch", SIGINT),
                wait("watch"),
                write(STALL_TIMEOUT, PATIENT),
                unload("lab_hold"),
            ]
        },
        expect: &[Expect::of("watch", Check::Stream), Expect::of("watch", Check::NoneOf(Severity::Error))],
        ..Scenario::USUAL
    },
];
