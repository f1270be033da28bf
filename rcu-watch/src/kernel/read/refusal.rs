//! Why the kernel did not take a livepatch, as far as its lists show it right after.
//!
//! kernel/livepatch/patch.c:klp_patch_func registers an ftrace handler that may change where the function continues
//! (IPMODIFY). ftrace allows one such handler a function (kernel/trace/ftrace.c:__ftrace_hash_update_ipmodify), and
//! refuses a permanent one while it is switched off. A kprobe with a post_handler is another IPMODIFY handler.

use std::fs::File;

use crate::kernel::read::ftrace::{EnabledFunction, each_enabled};
use crate::kernel::read::kprobe::{self, Kprobe};
use crate::kernel::read::livepatch::{Livepatch, read};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::switch::Switches;

/// Why this livepatch, which is gone, was refused.
#[must_use]
pub(crate) fn why(tree: &Tree, patch: &Livepatch) -> String {
    shown(tree, patch).unwrap_or_else(|| "no list of the kernel shows why; `dmesg` has its words".to_owned())
}

fn shown(tree: &Tree, patch: &Livepatch) -> Option<String> {
    if let Some(reason) = Switches::read(tree).ftrace_is_off() {
        return Some(reason.to_string());
    }
    if let Some(other) = enabled(tree).into_iter().find(|on| is_rival(on, patch)) {
        let function = &other.function;
        let list = tree.debugfs().ok().and_then(|debugfs| File::open(debugfs.join("kprobes/list")).ok());
        let kprobes = list.and_then(|list| kprobe::read(list).ok()).unwrap_or_default();
        return Some(match holder(&kprobes, &other, |_| None) {
            Some(holder) => format!("{holder} is on {function}, and leaves no room for a livepatch"),
            None => format!("a handler on {function} leaves no room for a livepatch"),
        });
    }
    let livepatches = read(&tree.path("/sys/kernel/livepatch")).unwrap_or_default();
    let other = livepatches.into_iter().find(|other| other.in_transition && other.name != patch.name)?;
    Some(format!("the transition of livepatch {} is not complete", other.name))
}

/// All functions that have ftrace handlers, as far as they can be read.
#[must_use]
pub(crate) fn enabled(tree: &Tree) -> Vec<EnabledFunction> {
    let mut found = Vec::new();
    let file = tree.tracefs().ok().and_then(|tracefs| File::open(tracefs.join("enabled_functions")).ok());
    if let Some(file) = file {
        // What was read before an error is still so.
        let _ = each_enabled(file, |function| found.push(function));
    }
    found
}

/// Whether it excludes the livepatch: some handler changes where one of its functions continues, and no livepatch does.
fn is_rival(on: &EnabledFunction, patch: &Livepatch) -> bool {
    let object = on.module.as_deref().unwrap_or("vmlinux");
    let is_one = patch.functions.iter().any(|f| f.function == on.function && f.object == object);
    on.has_ipmodify && !is_livepatch(on) && is_one
}

/// Whether ftrace names a livepatch as the one handler of the function.
#[must_use]
pub(crate) fn is_livepatch(on: &EnabledFunction) -> bool {
    on.callbacks.iter().any(|name| name == "klp_ftrace_handler")
}

/// Who may change where a function continues, where no livepatch does: the kprobe on its entry, with the module that it
/// is of where `module_of` tells, or what ftrace names.
#[must_use]
pub(crate) fn holder(
    kprobes: &[Kprobe],
    on: &EnabledFunction,
    module_of: impl Fn(&Kprobe) -> Option<String>,
) -> Option<String> {
    let is_there = |probe: &&Kprobe| {
        probe.is_live() && probe.is_on_ftrace && probe.function == on.function && probe.module == on.module
    };
    if let Some(probe) = kprobes.iter().find(is_there) {
        let of = module_of(probe).map(|module| format!(" of module {module}")).unwrap_or_default();
        return Some(format!("a kprobe{of} with a post_handler at {}+{:#x}", probe.function, probe.offset));
    }
    on.direct.clone().or_else(|| on.callbacks.first().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::read::livepatch::PatchedFunction;

    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn with(files: &[(&str, &str)]) -> Self {
            let kernel = Self(tempfile::tempdir().unwrap());
            kernel.write("sys/kernel/tracing/trace", "");
            std::fs::create_dir_all(kernel.0.path().join("sys/kernel/debug/kprobes")).unwrap();
            for (path, text) in files {
                kernel.write(path, text);
            }
            kernel
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn why(&self) -> Option<String> {
            let function = PatchedFunction {
                patch: "fix".into(),
                object: "vmlinux".into(),
                function: "cmdline_proc_show".into(),
                sympos: 1,
            };
            let patch = Livepatch {
                name: "fix".into(),
                enabled: false,
                in_transition: false,
                functions: vec![function],
                inode: 1,
                replace: None,
            };
            shown(&Tree::under(self.0.path()), &patch)
        }
    }

    const FUNCTIONS: &str = "sys/kernel/tracing/enabled_functions";

    #[test]
    fn a_kprobe_with_a_post_handler_is_named() {
        let on = "cmdline_proc_show (1) R I  \ttramp: 0xffffffffc0247000 (kprobe_ftrace_handler+0x0/0x1d0) ->kprobe_ftrace_handler+0x0/0x1d0\n";
        let list = "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n";
        let kernel = Kernel::with(&[(FUNCTIONS, on), ("sys/kernel/debug/kprobes/list", list)]);
        let why = kernel.why().unwrap();
        assert!(why.starts_with("a kprobe with a post_handler at cmdline_proc_show+0x4"), "{why}");
    }

    #[test]
    fn the_module_that_a_kprobe_is_of_is_named_where_it_is_known() {
        let on = "cmdline_proc_show (1) R I  ->kprobe_ftrace_handler+0x0/0x1d0\n";
        let mut functions = Vec::new();
        each_enabled(on.as_bytes(), |function| functions.push(function)).unwrap();
        let list = "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n";
        let kprobes = kprobe::read(list.as_bytes()).unwrap();
        let module_of = |probe: &Kprobe| (probe.address == 0xffff_ffff_8551_c2f4).then(|| "agent".to_owned());
        assert_eq!(
            holder(&kprobes, &functions[0], module_of).unwrap(),
            "a kprobe of module agent with a post_handler at cmdline_proc_show+0x4"
        );
    }

    #[test]
    fn another_livepatch_and_a_handler_elsewhere_are_no_reason() {
        let stacked = "cmdline_proc_show (1) R I  \ttramp: 0xffffffffc0247000 (klp_ftrace_handler+0x0/0x1d0) ->klp_ftrace_handler+0x0/0x1d0\n";
        let elsewhere = "schedule (1) R I  ->kprobe_ftrace_handler+0x0/0x1d0\n";
        assert_eq!(Kernel::with(&[(FUNCTIONS, &format!("{stacked}{elsewhere}"))]).why(), None);
    }

    #[test]
    fn ftrace_that_is_off_and_the_transition_of_another_are_told() {
        let off = Kernel::with(&[("proc/sys/kernel/ftrace_enabled", "0\n")]);
        assert_eq!(off.why().as_deref(), Some("kernel.ftrace_enabled is 0; sysctl kernel.ftrace_enabled=1"));
        let other = Kernel::with(&[
            ("proc/sys/kernel/ftrace_enabled", "1\n"),
            ("sys/kernel/livepatch/other/enabled", "1\n"),
            ("sys/kernel/livepatch/other/transition", "1\n"),
        ]);
        assert_eq!(other.why().as_deref(), Some("the transition of livepatch other is not complete"));
    }
}
