//! The switches that turn handlers off for everybody: `kernel.ftrace_enabled` and debugfs `kprobes/enabled`.
//!
//! With ftrace off the sites of all functions are nops again: whatever ftrace carries stays registered and is not
//! called. `enabled_functions` is then empty, because it lists sites that are switched on (kernel/trace/ftrace.c:
//! t_func_next). With kprobes off every kprobe stays in `kprobes/list` without a mark, and none is armed.
//! A livepatch keeps ftrace from being switched off. Added in: 7162431dcf72 ("ftrace: Introduce PERMANENT ftrace_ops
//! flag").

use crate::kernel::read::line::first_line;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;

/// How the switches stand. `None`: this kernel has no such switch, or this process cannot read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Switches {
    pub ftrace: Option<bool>,
    pub kprobes: Option<bool>,
    /// ftrace has met an error and shut itself down until the next boot (kernel/trace/ftrace.c:ftrace_kill): then
    /// `ftrace` is off too, and nothing turns it on.
    pub ftrace_is_dead: bool,
}

impl Switches {
    #[must_use]
    pub(crate) fn read(tree: &Tree) -> Self {
        let flag = |path: &std::path::Path| match first_line(path).ok()?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        let ftrace = flag(&tree.path("/proc/sys/kernel/ftrace_enabled"));
        Self {
            ftrace,
            kprobes: tree.debugfs().ok().and_then(|debugfs| flag(&debugfs.join("kprobes/enabled"))),
            // Only where it is off at all: opening the list is cheap, and not for nothing.
            ftrace_is_dead: ftrace == Some(false) && is_dead(tree),
        }
    }

    /// Why nothing that ftrace carries can be put anywhere now, and fire; `None` where it can.
    #[must_use]
    pub(crate) fn ftrace_is_off(self) -> Option<Reason> {
        match (self.ftrace, self.ftrace_is_dead) {
            (Some(false), false) => {
                Some(Reason::with_remedy("kernel.ftrace_enabled is 0", "sysctl kernel.ftrace_enabled=1"))
            }
            (Some(false), true) => Some(Reason::with_remedy(
                "ftrace has shut itself down after an error, which the kernel's log tells",
                "only a reboot turns it on again",
            )),
            (Some(true) | None, _) => None,
        }
    }

    /// Nothing that ftrace carries is called. Where it has shut itself down, some of it still may be.
    #[must_use]
    pub(crate) fn ftrace_calls_nobody(self) -> bool {
        self.ftrace == Some(false) && !self.ftrace_is_dead
    }

    /// Why no kprobe is armed now; `None` where they are.
    #[must_use]
    pub(crate) fn kprobes_are_off(self) -> Option<Reason> {
        (self.kprobes == Some(false)).then(|| {
            Reason::with_remedy(
                "kprobes are switched off (kprobes/enabled is 0)",
                "echo 1 > /sys/kernel/debug/kprobes/enabled",
            )
        })
    }
}

/// kernel/trace/ftrace.c:ftrace_avail_open refuses with ENODEV where ftrace has shut itself down.
fn is_dead(tree: &Tree) -> bool {
    let Ok(tracefs) = tree.tracefs() else { return false };
    let opened = std::fs::File::open(tracefs.join("available_filter_functions"));
    opened.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::under(root.path());
        (root, tree)
    }

    #[test]
    fn both_switches_are_read() {
        for (text, on) in [("0\n", false), ("1\n", true)] {
            let (_root, tree) = tree_with(&[
                ("proc/sys/kernel/ftrace_enabled", text),
                ("sys/kernel/debug/kprobes/enabled", text),
            ]);
            let switches = Switches::read(&tree);
            assert_eq!((switches.ftrace, switches.kprobes), (Some(on), Some(on)));
            let off = (switches.ftrace_is_off().is_some(), switches.kprobes_are_off().is_some());
            assert_eq!(off, (!on, !on));
            assert_eq!(switches.ftrace_calls_nobody(), !on);
            assert!(!switches.ftrace_is_dead);
        }
    }

    #[test]
    fn a_switch_that_is_not_there_is_not_off() {
        let (_root, tree) = tree_with(&[]);
        assert_eq!(Switches::read(&tree), Switches::default());
        assert_eq!(Switches::default().ftrace_is_off(), None);
        assert_eq!(Switches::default().kprobes_are_off(), None);
    }

    #[test]
    fn where_ftrace_is_dead_only_a_reboot_helps_and_nobody_knows_what_still_runs() {
        let dead = Switches { ftrace: Some(false), ftrace_is_dead: true, ..Switches::default() };
        assert_eq!(dead.ftrace_is_off().unwrap().remedy.as_deref(), Some("only a reboot turns it on again"));
        assert!(!dead.ftrace_calls_nobody());
    }
}
