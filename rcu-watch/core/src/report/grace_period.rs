//! Grace periods that are in progress for longer than usual, and what each waits for.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::report::finding::Holder;
use crate::units::{Nanos, WideNumber};

/// A grace period that has lasted for more than two seconds: at each heartbeat, and as it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GracePeriod {
    /// Of which of the kernel's RCUs.
    pub flavour: Flavour,
    /// The kernel's own sequence number of it.
    pub seq: WideNumber,
    /// For how long it is known to have lasted.
    pub age_ns: Nanos,
    /// When the kernel warns of a stall; absent where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warns_at_ns: Option<Nanos>,
    /// It is over.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub over: bool,
    /// Who holds it, by racy reads; empty where that is not known.
    pub waited_for: Vec<Holder>,
}

/// The kernel's RCUs, each of which has grace periods of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
pub enum Flavour {
    /// What `call_rcu` and `synchronize_rcu` wait for.
    #[serde(rename = "rcu")]
    #[strum(serialize = "rcu")]
    Rcu,
    /// `synchronize_rcu_expedited`.
    #[serde(rename = "rcu expedited")]
    #[strum(serialize = "rcu expedited")]
    Expedited,
    /// `synchronize_rcu_tasks`: each task must have slept or gone to user mode. Trampolines are freed after it.
    #[serde(rename = "rcu tasks")]
    #[strum(serialize = "rcu tasks")]
    Tasks,
    /// `synchronize_rcu_tasks_rude`: each CPU must have switched tasks.
    #[serde(rename = "rcu tasks rude")]
    #[strum(serialize = "rcu tasks rude")]
    TasksRude,
    /// `call_rcu_tasks_trace`: BPF programs that may sleep must have ended.
    #[serde(rename = "rcu tasks trace")]
    #[strum(serialize = "rcu tasks trace")]
    TasksTrace,
}

impl Flavour {
    /// Every flavour.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
