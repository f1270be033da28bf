//! What a livepatch or a handler that somebody wants to place would meet on a captured kernel.

use std::io;

use rcu_watch_core::forecast::{Way, of_function};
use rcu_watch_core::report::audit::ForecastKind;

use super::follow::Copy;
use crate::kernel::facts_of;
use crate::kernel::outlook::entry::Wanted;
use crate::kernel::outlook::{self, Outlook};
use crate::kernel::read::mount::Tree;
use crate::kernel::tests::Captured;
use crate::sys::memory::KernelMemory;

/// Kernel memory that cannot be read.
enum Closed {}

impl KernelMemory for Closed {
    fn read(&self, _places: &[(u64, usize)]) -> io::Result<Vec<Option<Vec<u8>>>> {
        match *self {}
    }
}

fn outlook(kernel: &Copy, function: &str, way: Way) -> Outlook {
    let tree = Tree::under(kernel.path());
    let mut facts = facts_of(&tree, &Captured::default());
    facts.learn(&tree, &[function.to_owned()].into());
    let object = matches!(way, Way::Livepatch { .. }).then(|| "vmlinux".to_owned());
    let wanted = Wanted { function: function.to_owned(), object, sympos: 0 };
    outlook::read(&tree, &facts, &[(wanted, way)], || Err::<Closed, _>(io::Error::other("closed")))
}

fn foretold(kernel: &Copy, way: Way) -> Vec<(ForecastKind, String)> {
    let outlook = outlook(kernel, "cmdline_proc_show", way);
    let forecasts = of_function(&outlook.kernel, &outlook.targets[0]);
    forecasts.into_iter().map(|forecast| (forecast.kind, forecast.because)).collect()
}

const PATCH: Way = Way::Livepatch { sympos: 0 };
const ENABLED: &str = "sys/kernel/tracing/enabled_functions";
const KPROBES: &str = "sys/kernel/debug/kprobes/list";

#[test]
fn on_a_kernel_that_nobody_hooks_nothing_is_foretold() {
    for kernel in ["5.10", "6.1", "6.12", "7.2"] {
        let kernel = Copy::of(kernel);
        kernel.write("proc/sys/kernel/ftrace_enabled", "1\n");
        assert_eq!(foretold(&kernel, PATCH), []);
        assert_eq!(foretold(&kernel, Way::Any), []);
    }
}

#[test]
fn a_kprobe_with_a_post_handler_is_foretold_to_refuse_a_livepatch_and_one_without_is_not() {
    let kernel = Copy::of("6.12");
    kernel.write(KPROBES, "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n");
    let on = |flags: &str| {
        format!(
            "cmdline_proc_show (1) {flags} \ttramp: 0xffffffffc0247000 (kprobe_ftrace_handler+0x0/0x1d0) ->kprobe_ftrace_handler+0x0/0x1d0\n"
        )
    };
    kernel.write(ENABLED, &on("R  "));
    assert_eq!(foretold(&kernel, PATCH), []);
    kernel.write(ENABLED, &on("R I"));
    let foretold = foretold(&kernel, PATCH);
    assert_eq!(foretold[0].0, ForecastKind::Refused);
    assert!(
        foretold[0].1.starts_with("a kprobe with a post_handler at cmdline_proc_show+0x4"),
        "{foretold:?}"
    );
}

#[test]
fn a_livepatch_that_is_there_holds_the_place_for_the_next() {
    let kernel = Copy::of("6.1");
    kernel.write(ENABLED, "cmdline_proc_show (2) R I   ->arch_ftrace_ops_list_func+0x0/0x1d0\n");
    assert_eq!(foretold(&kernel, PATCH)[0].0, ForecastKind::Refused);
    for (file, text) in [("enabled", "1\n"), ("transition", "0\n"), ("vmlinux/cmdline_proc_show,1/x", "")] {
        kernel.write(&format!("sys/kernel/livepatch/first/{file}"), text);
    }
    assert_eq!(foretold(&kernel, PATCH), []);
}

#[test]
fn a_trampoline_refuses_a_livepatch_where_the_two_exclude_each_other() {
    let on = "cmdline_proc_show (1)   I D \ttramp: 0xffffffffc0a00000 (call_direct_funcs+0x0/0x20) ->call_direct_funcs+0x0/0x20\n\tdirect-->bpf_trampoline_6442494947+0x0/0x5c\n";
    let kernel = Copy::of("5.10");
    kernel.write(ENABLED, on);
    let foretold_there = foretold(&kernel, PATCH);
    assert_eq!(foretold_there[0].0, ForecastKind::Refused);
    assert!(
        foretold_there[0].1.starts_with("bpf_trampoline_6442494947 is called directly"),
        "{foretold_there:?}"
    );
    assert_eq!(foretold_there.len(), 1);
    let kernel = Copy::of("6.12");
    kernel.write(ENABLED, &on.replace("  I D", "    D"));
    assert_eq!(foretold(&kernel, PATCH), []);
}

#[test]
fn ftrace_that_is_off_and_a_probe_inside_are_foretold() {
    let kernel = Copy::of("6.12");
    kernel.write("proc/sys/kernel/ftrace_enabled", "0\n");
    kernel.write(KPROBES, "ffffffff8551c301  k  cmdline_proc_show+0x11    [OPTIMIZED]\n");
    let foretold = foretold(&kernel, PATCH);
    let kinds: Vec<_> = foretold.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ForecastKind::Refused, ForecastKind::FallsSilent]);
    assert!(foretold[1].1.contains("cmdline_proc_show+0x11"), "{foretold:?}");
}

#[test]
fn a_task_that_stays_in_the_function_is_foretold_to_hold_up_the_transition() {
    let kernel = Copy::of("6.12");
    let stack = "[<0>] schedule+0x10/0x20\n[<0>] cmdline_proc_show+0x1c/0x40\n";
    kernel.write("proc/self/stack", stack);
    kernel.write("proc/45/task/45/stat", "45 (nfsd) D 2 0 0 0 -1 2097152 0 0 0 0 0 0 0 0 20 0 1 0 4711 0\n");
    kernel.write("proc/45/task/45/stack", stack);
    let mut outlook = outlook(&kernel, "cmdline_proc_show", PATCH);
    let tree = Tree::under(kernel.path());
    let first = outlook.look(&tree);
    outlook.look_again(&tree, first);
    let forecasts = of_function(&outlook.kernel, &outlook.targets[0]);
    assert_eq!(forecasts[0].kind, ForecastKind::MayHang);
    assert!(forecasts[0].because.starts_with("nfsd[45] sits in it"), "{forecasts:?}");
    assert_eq!(forecasts[0].holders[0].stack.len(), 2);
}
