//! Whether ftrace refuses handlers where RCU is off.
//!
//! d099dbfd3306 ("cpuidle: tracing: Warn about !rcu_is_watching()") made it so on every architecture that is noinstr
//! (include/linux/trace_recursion.h:trace_warn_on_no_rcu); "ftrace: make extra rcu_is_watching() validation check
//! optional" made it an option later, which is off unless asked for. So an option that is absent says yes, where the
//! idle path is noinstr: 2b5a0e425e6e ("objtool/idle: Validate __cpuidle code as noinstr") is of the same series.

use crate::kernel::read::config;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::{Listing, Reason};

const OPTION: &str = "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING";
/// What the check depended on before it had an option, and what the option depends on.
const NO_INSTR: &str = "CONFIG_ARCH_WANTS_NO_INSTR";
const TRACER: &str = "CONFIG_FUNCTION_TRACER";

/// Functions of idle that every kernel of their architecture has, and lets be hooked before the check came.
pub(super) const IDLE: &[&str] = &["arch_cpu_idle", "default_idle"];

/// Whether `CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING`, or the check that it made optional, is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FtraceValidation {
    Yes,
    No,
    Unknown(Reason),
}

/// Reads the kernel's configuration where it is to be had; else tells by what else such kernels have.
pub(super) fn read(tree: &Tree, release: &str, traceable: &Listing) -> FtraceValidation {
    let is_traceable = |name: &&str| traceable.contains(name);
    let config = config::read(tree, release, &[OPTION, NO_INSTR, TRACER]);
    if let Ok(options) = &config
        && let Some(&is_on) = options.get(OPTION)
    {
        return if is_on { FtraceValidation::Yes } else { FtraceValidation::No };
    }
    let idle: Vec<Option<bool>> = IDLE.iter().map(is_traceable).collect();
    if idle.contains(&Some(true)) {
        return FtraceValidation::No;
    }
    match config {
        // The check is compiled in with the callers of ftrace_test_recursion_trylock() only.
        Ok(options) if options.get(TRACER) != Some(&true) || options.get(NO_INSTR) != Some(&true) => {
            FtraceValidation::No
        }
        Ok(_) if idle.iter().all(|is_traceable| *is_traceable == Some(false)) => FtraceValidation::Yes,
        Ok(_) => FtraceValidation::Unknown(Reason::new("the functions that ftrace can hook are not known")),
        Err(reason) => FtraceValidation::Unknown(Reason {
            why: format!("{}, so {OPTION} is not known", reason.why),
            remedy: reason.remedy,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    const BOTH: &str = "CONFIG_ARCH_WANTS_NO_INSTR=y\nCONFIG_FUNCTION_TRACER=y\n";

    fn of(config: Option<&str>, traceable: &[&str]) -> FtraceValidation {
        let directory = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            fs::create_dir(directory.path().join("boot")).unwrap();
            fs::write(directory.path().join("boot/config-x"), config).unwrap();
        }
        let traceable = traceable.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        read(&Tree::under(directory.path()), "x", &Listing::Known(traceable))
    }

    #[test]
    fn the_option_decides_where_the_kernel_has_it() {
        let with = |line: &str| of(Some(&format!("{BOTH}{line}\n")), &[]);
        assert_eq!(with("CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING=y"), FtraceValidation::Yes);
        assert_eq!(with("# CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING is not set"), FtraceValidation::No);
    }

    #[test]
    fn a_noinstr_kernel_that_has_no_such_option_checks() {
        assert_eq!(of(Some(BOTH), &["do_idle"]), FtraceValidation::Yes);
    }

    #[test]
    fn a_kernel_that_lets_idle_be_hooked_is_older_than_the_check() {
        assert_eq!(of(Some(BOTH), &["arch_cpu_idle"]), FtraceValidation::No);
        assert_eq!(of(None, &["default_idle"]), FtraceValidation::No);
    }

    #[test]
    fn an_architecture_that_is_not_noinstr_has_no_check() {
        assert_eq!(of(Some("CONFIG_FUNCTION_TRACER=y\n"), &[]), FtraceValidation::No);
        assert_eq!(of(Some("CONFIG_ARCH_WANTS_NO_INSTR=y\n"), &[]), FtraceValidation::No);
    }

    #[test]
    fn without_a_configuration_or_a_list_it_is_not_known_and_the_remedy_is_said() {
        let FtraceValidation::Unknown(reason) = of(None, &[]) else { panic!("nothing tells") };
        assert!(reason.remedy.is_some() && reason.why.contains(OPTION), "{reason}");
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("boot")).unwrap();
        fs::write(directory.path().join("boot/config-x"), BOTH).unwrap();
        let closed = Listing::Unknown(Reason::new("closed"));
        let unknown = read(&Tree::under(directory.path()), "x", &closed);
        assert!(matches!(unknown, FtraceValidation::Unknown(_)), "{unknown:?}");
    }
}
