//! What became of the handlers of a kernel since an earlier list: `handlers --diff`.
//!
//! The stream has the whole census as well, so that it can be the earlier list of the next comparison.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::report::handlers::{HandlerReport, HandlerState};

/// One handler that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandlerChange {
    /// What became of it.
    pub change: ChangeKind,
    /// As it is now; of one that is gone, as it was.
    pub handler: HandlerReport,
    /// Whether it could run before; absent for `new` and `gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<StateBefore>,
}

/// Whether a handler could run in the earlier list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateBefore {
    /// Whether it could.
    pub state: HandlerState,
    /// Why it could not, or what else was to be known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What became of a handler. Counters are no change, and neither is another process that has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ChangeKind {
    /// It was there and is not.
    Gone,
    /// It is still there and cannot run any more: switched off, or switched on and dead.
    Silent,
    /// It was not there.
    New,
    /// It could not run, and can.
    Back,
}

impl ChangeKind {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// After the last change: how many, and what was compared with what. Our own handlers are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandlerChangeTotals {
    /// Handlers that were not there.
    pub new: u64,
    /// Handlers that are not there any more.
    pub gone: u64,
    /// Handlers that cannot run any more.
    pub silent: u64,
    /// Handlers that can run again.
    pub back: u64,
    /// Handlers that are as they were.
    pub unchanged: u64,
    /// Differences that may come from a list that only one of the two could read; they are no changes.
    pub untold: u64,
    /// How handlers were recognised.
    pub basis: Basis,
    /// Where the earlier list was made.
    pub old: ListedOn,
    /// Lists that only one of the two could read.
    pub uncompared: Vec<Uncompared>,
}

impl HandlerChangeTotals {
    /// How many handlers are not as they were.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.new + self.gone + self.silent + self.back
    }
}

/// How a handler of the earlier list was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Both lists are of one boot: by kind, name, function and place, by address, and by BPF program and link.
    SameBoot,
    /// Of another boot, where addresses and ids are others: by kind, name, function and place alone.
    Names,
}

/// Where a list was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListedOn {
    /// The host's name.
    pub host: String,
    /// Its boot.
    pub boot_id: String,
    /// `uname -r`.
    pub release: String,
}

/// A list of the kernel that only one of the two censuses could read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Uncompared {
    /// Its name, as the header's blind spots have it.
    pub list: String,
    /// Which of the two could not read it.
    pub unread: Census,
}

/// One of the two censuses that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Census {
    /// The earlier one.
    Old,
    /// The one that was taken now.
    Now,
}
