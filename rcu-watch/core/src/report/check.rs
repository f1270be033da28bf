//! What `doctor` found: a line for each thing that a run needs or would be better for.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// `privilege`, `configuration`, `source`, `mechanism`, `tracepoint`, `state`.
    pub group: &'static str,
    /// What was looked at: `fentry`, `CAP_BPF`, `BTF`...
    pub name: String,
    pub state: CheckState,
    /// What was found, or why it is not there.
    pub detail: String,
    /// Capabilities that it takes on this kernel.
    pub needs: Vec<String>,
    /// What would change it, where something would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    Ok,
    /// Not there; a run goes without, and sees less.
    Lacking,
    /// Not there, and no run goes without.
    Blocking,
    /// Could not be found out.
    Unknown,
}
