//! When the kernel itself says that a grace period lasts too long.

use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::units::Nanos;

use crate::kernel::read::line::first_line;
use crate::kernel::read::mount::Tree;

const PARAMETERS: &str = "/sys/module/rcupdate/parameters";

/// When the kernel speaks up; `None` where it never does. `tick` is how long a jiffy is.
///
/// kernel/rcu/tree_stall.h:rcu_jiffies_till_stall_check and rcu_exp_jiffies_till_stall_check, and
/// kernel/rcu/tasks.h:rcu_tasks_wait_gp. The line that the latter writes after `rcu_task_stall_info` is no warning: seconds
/// are usual for RCU-tasks on a busy machine.
#[must_use]
pub(crate) fn warns_at(tree: &Tree, flavour: Flavour, tick: Nanos) -> Option<Nanos> {
    let parameter =
        |name: &str| -> Option<i64> { first_line(&tree.path(PARAMETERS).join(name)).ok()?.parse().ok() };
    let seconds = |seconds: i64| Nanos(seconds.clamp(3, 300).cast_unsigned() * 1_000_000_000);
    let cpu_stall = || parameter("rcu_cpu_stall_timeout").map(seconds);
    let jiffies = |name| {
        let jiffies = parameter(name).filter(|&jiffies| jiffies > 0)?;
        Some(Nanos(jiffies.cast_unsigned().saturating_mul(tick.0)))
    };
    match flavour {
        Flavour::Rcu => cpu_stall(),
        Flavour::Expedited => match parameter("rcu_exp_cpu_stall_timeout") {
            Some(milliseconds) if milliseconds > 0 => Some(Nanos(milliseconds.cast_unsigned() * 1_000_000)),
            _ => cpu_stall(),
        },
        Flavour::Tasks | Flavour::TasksTrace => jiffies("rcu_task_stall_timeout"),
        Flavour::TasksRude => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn of(parameters: &[(&str, &str)], flavour: Flavour) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(PARAMETERS.trim_start_matches('/'));
        std::fs::create_dir_all(&place).unwrap();
        for (name, value) in parameters {
            std::fs::write(place.join(name), format!("{value}\n")).unwrap();
        }
        warns_at(&Tree::under(folder.path()), flavour, Nanos(4_000_000)).map(|at| at.0)
    }

    #[test]
    fn the_expedited_timeout_is_the_other_one_where_it_is_not_set() {
        let cpu = ("rcu_cpu_stall_timeout", "21");
        assert_eq!(of(&[cpu], Flavour::Rcu), Some(21 * SECOND));
        assert_eq!(of(&[cpu], Flavour::Expedited), Some(21 * SECOND));
        assert_eq!(of(&[cpu, ("rcu_exp_cpu_stall_timeout", "0")], Flavour::Expedited), Some(21 * SECOND));
        assert_eq!(of(&[cpu, ("rcu_exp_cpu_stall_timeout", "20")], Flavour::Expedited), Some(SECOND / 50));
    }

    #[test]
    fn the_kernel_keeps_the_timeout_within_bounds_and_so_do_we() {
        assert_eq!(of(&[("rcu_cpu_stall_timeout", "1")], Flavour::Rcu), Some(3 * SECOND));
        assert_eq!(of(&[("rcu_cpu_stall_timeout", "9000")], Flavour::Rcu), Some(300 * SECOND));
    }

    #[test]
    fn of_tasks_it_is_in_jiffies_and_the_rude_never_warn() {
        let stall = ("rcu_task_stall_timeout", "150000");
        assert_eq!(of(&[stall], Flavour::Tasks), Some(600 * SECOND));
        assert_eq!(of(&[("rcu_task_stall_timeout", "0")], Flavour::Tasks), None);
        assert_eq!(of(&[stall], Flavour::TasksRude), None);
    }
}
