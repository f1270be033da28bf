//! Capabilities, lockdown, and the sysctls that stand in the way.

use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};

use super::check;
use crate::kernel::facts::Facts;
use crate::kernel::read::privilege::{Capability, Lockdown};

const GROUP: CheckGroup = CheckGroup::Privilege;

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = Capability::ALL.map(|capability| of_capability(facts, capability)).to_vec();
    checks.push(lockdown(facts));
    checks.push(kptr_restrict(facts));
    checks.push(perf_event_paranoid(facts));
    checks
}

fn of_capability(facts: &Facts, capability: Capability) -> Check {
    let (purpose, needed) = match capability {
        Capability::Bpf => ("loads the programs", true),
        Capability::Perfmon => ("lets them read kernel memory and sit on kprobes and perf events", true),
        Capability::SysAdmin => ("names other people's BPF programs, and sets watchpoints", false),
        Capability::Syslog => ("shows the addresses in /proc/kallsyms", addresses_are_hidden(facts)),
    };
    let privileges = &facts.privileges;
    let (state, detail) = if privileges.has(capability) {
        (CheckState::Ok, purpose.to_owned())
    } else if privileges.allows(capability) && matches!(capability, Capability::Bpf | Capability::Perfmon) {
        (CheckState::Ok, format!("{purpose}; CAP_SYS_ADMIN stands in for it"))
    } else if capability == Capability::Syslog && !needed {
        (CheckState::Ok, "not needed: this kernel shows its addresses to everybody".to_owned())
    } else {
        (if needed { CheckState::Blocking } else { CheckState::Lacking }, format!("missing: it {purpose}"))
    };
    let remedy = (state != CheckState::Ok).then(|| format!("run as root, or with {}", capability.name()));
    Check { remedy, ..check(GROUP, capability.name(), state, detail) }
}

fn addresses_are_hidden(facts: &Facts) -> bool {
    facts.symbols.as_ref().map_or(true, |symbols| symbols.hidden)
}

/// kernel/kallsyms.c:kallsyms_show_value.
pub(super) fn to_see_addresses(facts: &Facts) -> Vec<String> {
    let privileges = &facts.privileges;
    let shown_to_all =
        privileges.kptr_restrict == Some(0) && privileges.perf_event_paranoid.is_some_and(|level| level <= 1);
    if shown_to_all { Vec::new() } else { vec![Capability::Syslog.name().to_owned()] }
}

fn lockdown(facts: &Facts) -> Check {
    const NAME: &str = "lockdown";
    match facts.privileges.lockdown {
        Lockdown::None => check(GROUP, NAME, CheckState::Ok, "off"),
        Lockdown::Absent => {
            check(GROUP, NAME, CheckState::Ok, "not built in, or no boot option turned it on")
        }
        Lockdown::Integrity => check(GROUP, NAME, CheckState::Ok, "integrity: BPF may read"),
        Lockdown::Confidentiality => Check {
            remedy: Some("boot with lockdown=integrity or without lockdown".to_owned()),
            ..check(GROUP, NAME, CheckState::Blocking, "confidentiality: BPF may not read kernel memory")
        },
        Lockdown::Unknown => Check {
            remedy: Some("mount -t securityfs securityfs /sys/kernel/security".to_owned()),
            ..check(GROUP, NAME, CheckState::Unknown, "securityfs is not mounted")
        },
    }
}

fn kptr_restrict(facts: &Facts) -> Check {
    const NAME: &str = "kptr_restrict";
    match facts.privileges.kptr_restrict {
        // With CAP_SYSLOG as without: 2 hides them from everybody.
        Some(2) => Check {
            remedy: Some("sysctl kernel.kptr_restrict=1".to_owned()),
            ..check(GROUP, NAME, CheckState::Blocking, "2: nobody sees kernel addresses")
        },
        Some(value) => {
            check(GROUP, NAME, CheckState::Ok, format!("{value}: CAP_SYSLOG is enough to see addresses"))
        }
        None => check(GROUP, NAME, CheckState::Unknown, "the sysctl cannot be read"),
    }
}

fn perf_event_paranoid(facts: &Facts) -> Check {
    const NAME: &str = "perf_event_paranoid";
    match facts.privileges.perf_event_paranoid {
        Some(value) if facts.privileges.allows(Capability::Perfmon) => {
            check(GROUP, NAME, CheckState::Ok, format!("{value}: no matter with CAP_PERFMON"))
        }
        Some(value) => Check {
            remedy: Some("run as root, or with CAP_PERFMON".to_owned()),
            ..check(GROUP, NAME, CheckState::Lacking, format!("{value}: kprobes need CAP_PERFMON"))
        },
        None => check(GROUP, NAME, CheckState::Unknown, "the sysctl cannot be read"),
    }
}
