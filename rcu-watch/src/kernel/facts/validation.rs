//! Whether ftrace refuses handlers where RCU is off.

use std::ops::ControlFlow;

use crate::kernel::read::line::each_line_of;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::{Listing, Reason};

/// Whether `CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING`, or the check that it made optional, is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FtraceValidation {
    Yes,
    No,
    Unknown(Reason),
}

/// Reads the kernel's configuration where it is to be had; else tells by what else such kernels have.
pub(super) fn read(tree: &Tree, release: &str, traceable: &Listing) -> FtraceValidation {
    const OPTION: &str = "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING";
    let mut answer = None;
    let _ = each_line_of(&tree.path(&format!("/boot/config-{release}")), |line| {
        if line.contains(OPTION) {
            answer = Some(line.ends_with("=y"));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    match answer {
        Some(true) => return FtraceValidation::Yes,
        Some(false) => return FtraceValidation::No,
        None => {}
    }
    match traceable.contains("arch_cpu_idle") {
        // The check came in the series that made the idle path noinstr: d099dbfd3306 ("cpuidle: tracing: Warn
        // about !rcu_is_watching()"), 2b5a0e425e6e ("objtool/idle: Validate __cpuidle code as noinstr").
        Some(true) => FtraceValidation::No,
        Some(false) => FtraceValidation::Unknown(Reason::new(format!(
            "the configuration of this kernel is not in /boot, so {OPTION} is not known"
        ))),
        None => FtraceValidation::Unknown(Reason::new("the functions that ftrace can hook are not known")),
    }
}
