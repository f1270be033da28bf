//! Who says that something is so, and of whom: what findings of probes and of looks have in common.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::snapshot::Task;
use crate::units::{Address, CpuId, Nanos};

/// Who says that something is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A probe of ours was hit.
    #[default]
    Probe,
    /// The kernel's lists and files, which a run looks at.
    Lists,
    /// The kernel's own log.
    Kernel,
}

impl Source {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    pub(super) const fn is_probe(&self) -> bool {
        matches!(self, Self::Probe)
    }
}

/// A task or a CPU that holds up a transition or a grace period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Holder {
    /// The task; absent where only the CPU is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskReport>,
    /// The CPU that is waited for, or that the task runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuId>,
    /// What it does, in a few words: `sleeps`, `kthread, sleeps`, `idle`, `runs with irqs off`.
    pub state: String,
    /// The patched function that is on its stack, or whose handler is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// For how long it has been seen so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<Nanos>,
    /// What would make it let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Innermost first; empty where it could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<StackFrame>,
}

/// The task that was current when a probe was hit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskReport {
    /// Its thread id, 0 for an idle task.
    pub pid: u32,
    /// Its process's id.
    pub tgid: u32,
    /// Its name, at most 15 bytes; what is not UTF-8 is replaced.
    pub comm: String,
    /// It is a CPU's idle task.
    pub idle: bool,
}

/// A return address on the kernel's stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Frame"))]
pub struct StackFrame {
    /// Absent where a kernel log left it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// `function+0x1c`; absent where kallsyms has no name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
}

impl StackFrame {
    /// The name, or the address where it has none.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.symbol, self.address) {
            (Some(symbol), _) => symbol.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "?".to_owned(),
        }
    }
}

impl TaskReport {
    /// Writes out the task of a snapshot.
    #[must_use]
    pub fn new(task: &Task) -> Self {
        let name = task.comm.split(|&byte| byte == 0).next().unwrap_or_default();
        Self {
            pid: task.pid,
            tgid: task.tgid,
            comm: String::from_utf8_lossy(name).into_owned(),
            idle: task.is_idle(),
        }
    }
}
