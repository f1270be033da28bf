//! Transitions of RCU's state as a watchpoint saw them: each one with `--stream all`, their balance at the end.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::cause::Cause;
use crate::report::finding::{StackFrame, StateReport, TaskReport};

/// One write to S.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Transition {
    /// Why S was written.
    pub cause: Cause,
    /// Behind the instruction that wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<StackFrame>,
    /// Who called the function that wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<StackFrame>,
    /// As the watchpoint's own exception has it: it is counted in M and P.
    pub state: StateReport,
    /// The task that was current.
    pub task: TaskReport,
}

/// What watchpoints saw in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Transitions {
    /// Writes that the hardware saw, the missed ones too.
    pub writes: u64,
    /// Times that a watchpoint was switched on, over all CPUs. Each may cut one transition in half.
    pub windows: u64,
    /// For idle, irqs and user mode: whether what was entered was left.
    pub balance: Vec<Balance>,
    /// Quiescent states that were told to RCU while it went on watching.
    pub momentary: u64,
    /// Writes whose cause is not known.
    pub unknown: u64,
}

/// Ways in and out of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Balance {
    /// What is entered and left.
    pub kind: BalanceKind,
    /// Writes that entered it.
    pub enter: u64,
    /// Writes that left it.
    pub exit: u64,
    /// By how much the two may differ: windows + lost + missed + unknown.
    pub allowed: u64,
    /// The two differ by no more than is allowed.
    pub balanced: bool,
}

/// What is entered and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum BalanceKind {
    /// Idle.
    Idle,
    /// Irqs, and exceptions that are counted like them.
    Irq,
    /// User mode, or a guest.
    User,
}

impl BalanceKind {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Balance {
    /// Sums up; `allowed` is by how much `enter` and `exit` may differ.
    #[must_use]
    pub const fn new(kind: BalanceKind, enter: u64, exit: u64, allowed: u64) -> Self {
        Self { kind, enter, exit, allowed, balanced: enter.abs_diff(exit) <= allowed }
    }
}
