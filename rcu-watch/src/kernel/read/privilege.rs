//! What this process may do: capabilities, lockdown, and the two sysctls that stand in the way.

use std::ops::ControlFlow;

use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::mount::Tree;

/// A capability that some mechanism of ours needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    SysAdmin,
    Syslog,
    Perfmon,
    Bpf,
}

impl Capability {
    pub const ALL: [Self; 4] = [Self::Bpf, Self::Perfmon, Self::SysAdmin, Self::Syslog];

    /// Bit in `CapEff`: include/uapi/linux/capability.h.
    const fn bit(self) -> u32 {
        match self {
            Self::SysAdmin => 21,
            Self::Syslog => 34,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// Kernel lockdown, as `/sys/kernel/security/lockdown` brackets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    None,
    Integrity,
    /// Not even BPF may read kernel memory.
    Confidentiality,
    /// The file is not there although securityfs is mounted: built without it.
    Absent,
    /// securityfs is not mounted.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    effective: u64,
    pub lockdown: Lockdown,
    /// 1: addresses need CAP_SYSLOG; 2: nobody sees them.
    pub kptr_restrict: Option<i32>,
    pub perf_event_paranoid: Option<i32>,
    /// The highest capability that this kernel knows.
    pub last_capability: u32,
}

impl Privileges {
    /// These capabilities, and nothing else that stands in the way: what tests start from.
    #[cfg(test)]
    pub(crate) const fn new(effective: u64) -> Self {
        Self {
            effective,
            lockdown: Lockdown::None,
            kptr_restrict: Some(0),
            perf_event_paranoid: Some(2),
            last_capability: 40,
        }
    }

    #[must_use]
    pub fn read(tree: &Tree) -> Self {
        let mut effective = 0;
        // An unreadable status shows no capability: then every refusal names the missing one.
        let _ = each_line_of(&tree.path("/proc/self/status"), |line| match line.strip_prefix("CapEff:") {
            Some(mask) => {
                effective = u64::from_str_radix(mask.trim(), 16).unwrap_or(0);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        });
        let number = |path| first_line(&tree.path(path)).ok()?.parse().ok();
        let securityfs = tree.path("/sys/kernel/security");
        let lockdown = first_line(&securityfs.join("lockdown")).unwrap_or_default();
        // Only a file system that is mounted there has files there.
        let is_mounted = std::fs::read_dir(&securityfs).is_ok_and(|mut files| files.next().is_some());
        Self {
            effective,
            lockdown: if lockdown.contains("[confidentiality]") {
                Lockdown::Confidentiality
            } else if lockdown.contains("[integrity]") {
                Lockdown::Integrity
            } else if lockdown.contains("[none]") {
                Lockdown::None
            } else if is_mounted {
                Lockdown::Absent
            } else {
                Lockdown::Unknown
            },
            last_capability: first_line(&tree.path("/proc/sys/kernel/cap_last_cap"))
                .ok()
                .and_then(|last| last.parse().ok())
                .unwrap_or(Capability::Bpf.bit()),
            kptr_restrict: number("/proc/sys/kernel/kptr_restrict"),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        }
    }

    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        self.effective & (1 << capability.bit()) != 0
    }

    /// Whether this kernel has CAP_BPF and CAP_PERFMON of their own.
    #[must_use]
    pub const fn are_split(&self) -> bool {
        self.last_capability >= Capability::Bpf.bit()
    }

    /// CAP_SYS_ADMIN stands in for the younger ones that were split from it.
    #[must_use]
    pub const fn allows(&self, capability: Capability) -> bool {
        self.has(capability) || self.has(Capability::SysAdmin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_in_for_the_younger_capabilities() {
        let admin = Privileges::new(1 << 21);
        assert!(admin.allows(Capability::Bpf) && admin.allows(Capability::Perfmon));
        assert!(!admin.has(Capability::Bpf));
        assert!(!Privileges::new(1 << 38).allows(Capability::Bpf));
    }
}
