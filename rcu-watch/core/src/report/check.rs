//! What `doctor` found: a line for each thing that a run needs or would be better for.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// One thing that `doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What kind of thing it is.
    pub group: CheckGroup,
    /// What was looked at: `fentry`, `CAP_BPF`, `BTF`...
    pub name: String,
    /// Whether it is there, and what it means for a run.
    pub state: CheckState,
    /// What was found, or why it is not there.
    pub detail: String,
    /// Capabilities that it takes on this kernel.
    pub needs: Vec<String>,
    /// What would change it, where something would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckGroup {
    /// What this process may do.
    Privilege,
    /// How the kernel was built.
    Configuration,
    /// What of the kernel can be read.
    Source,
    /// Ways to get to a place.
    Mechanism,
    /// Tracepoints that probes sit on.
    Tracepoint,
    /// What was found out by trying.
    State,
}

/// What `doctor` found of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// There, as a run wants it.
    Ok,
    /// Not there; a run goes without, and sees less.
    Lacking,
    /// Not there, and no run goes without.
    Blocking,
    /// Could not be found out.
    Unknown,
}
