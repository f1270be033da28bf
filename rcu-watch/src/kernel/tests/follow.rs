//! Handlers that come and go on a captured kernel whose files change.

use std::path::Path;

use rcu_watch_core::probe::{HandlerKind, Mechanism, Point};
use tempfile::TempDir;

use super::Captured;
use crate::kernel::facts::own_kprobe::{OwnKprobe, OwnKprobes};
use crate::kernel::facts_of;
use crate::kernel::follow::{Follower, SiteChange};
use crate::kernel::plan::Request;
use crate::kernel::read::mount::Tree;

fn look(follower: &mut Follower<Captured>) -> Vec<SiteChange> {
    look_around(follower, &[])
}

fn look_around(follower: &mut Follower<Captured>, ours: &[&str]) -> Vec<SiteChange> {
    let own = own(ours, ours.len() as u64);
    follower.look_around(|| own.clone()).unwrap_or_default()
}

/// Ours, at the entries of these functions.
fn own(functions: &[&str], moves: u64) -> OwnKprobes {
    let entry = |name: &&str| OwnKprobe::of(Mechanism::KprobeFtrace, name);
    OwnKprobes { kprobes: functions.iter().filter_map(entry).collect(), resting: 0, moves }
}

/// A copy of a captured kernel that goes away with the test.
pub(super) struct Copy(TempDir);

impl Copy {
    pub(super) fn of(kernel: &str) -> Self {
        let to = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel").join(kernel), to.path());
        Self(to)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn follower(&self, request: Request) -> Follower<Captured> {
        let tree = Tree::under(self.0.path());
        let facts = facts_of(&tree, &Captured::default());
        Follower::new(tree, Captured::default(), facts, request)
    }

    fn load_livepatch(&self) {
        self.write("sys/kernel/livepatch/lab_livepatch_idle/enabled", "1\n");
        self.write("sys/kernel/livepatch/lab_livepatch_idle/transition", "0\n");
        self.write("sys/kernel/livepatch/lab_livepatch_idle/vmlinux/arch_cpu_idle,1/x", "");
        let line = "arch_cpu_idle (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n";
        self.write("sys/kernel/tracing/enabled_functions", line);
    }

    fn unload_livepatch(&self) {
        std::fs::remove_dir_all(self.0.path().join("sys/kernel/livepatch")).unwrap();
        self.write("sys/kernel/tracing/enabled_functions", "");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_livepatch_that_loads_and_unloads_is_attached_to_and_left() {
    let kernel = Copy::of("6.1");
    let mut follower = kernel.follower(Request::default());
    assert!(look(&mut follower).is_empty());
    for _ in 0..3 {
        kernel.load_livepatch();
        let changes = look(&mut follower);
        let [SiteChange::Appeared { site, row, planned: Some(planned) }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(
            (site.function.as_str(), row.point, row.required),
            ("arch_cpu_idle", Point::PatchedFunction, true)
        );
        assert_eq!(planned.probe.mechanism, Mechanism::KprobeFtrace);
        assert_eq!(planned.probe.handlers[0].name, "lab_livepatch_idle");
        assert!(look(&mut follower).is_empty());
        kernel.unload_livepatch();
        let changes = look(&mut follower);
        assert!(
            matches!(&changes[..], [SiteChange::Left { function, .. }] if function == "arch_cpu_idle"),
            "{changes:?}"
        );
    }
}

#[test]
fn a_livepatch_that_loads_on_5_10_is_watched_by_a_kprobe_that_is_not_taken_for_anothers() {
    let kernel = Copy::of("5.10");
    let mut follower = kernel.follower(Request::default());
    kernel.load_livepatch();
    let changes = look(&mut follower);
    let [SiteChange::Appeared { planned: Some(planned), .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(planned.probe.mechanism, Mechanism::KprobeFtrace);
    // Ours, now that it is attached.
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff968356d0  k  arch_cpu_idle+0x0    [FTRACE]\n");
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "arch_cpu_idle (2) R I   ->ftrace_ops_list_func+0x0/0x180\n",
    );
    assert!(look_around(&mut follower, &["arch_cpu_idle"]).is_empty());
}

#[test]
fn a_tracer_that_joins_a_livepatch_changes_the_handlers_of_its_site() {
    let kernel = Copy::of("6.1");
    kernel.load_livepatch();
    let mut follower = kernel.follower(Request::default());
    look_around(&mut follower, &[]);
    kernel.write("sys/kernel/tracing/current_tracer", "function\n");
    kernel.write("sys/kernel/tracing/set_ftrace_filter", "arch_cpu_idle\n");
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "arch_cpu_idle (2)   I   ->arch_ftrace_ops_list_func+0x0/0x1d0\n",
    );
    let changes = look_around(&mut follower, &[]);
    let [SiteChange::Changed { site }] = &changes[..] else { panic!("{changes:?}") };
    let names: Vec<_> = site.handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(names, ["lab_livepatch_idle", "function_trace_call"]);
}

#[test]
fn a_kprobe_that_comes_where_ours_has_just_left_is_not_taken_for_ours() {
    let kernel = Copy::of("6.12");
    let mut follower = kernel.follower(Request::default());
    let list = "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n";
    kernel.write("sys/kernel/debug/kprobes/list", &list.repeat(2));
    kernel.write("sys/kernel/tracing/enabled_functions", "cmdline_proc_show (1) R         \ttramp: 0xffffffffc0247000 (kprobe_ftrace_handler+0x0/0x1d0) ->kprobe_ftrace_handler+0x0/0x1d0\n");
    let mut look = |own: OwnKprobes| follower.look_around(|| own.clone()).unwrap_or_default();
    assert!(matches!(&look(own(&["cmdline_proc_show"], 1))[..], [SiteChange::Appeared { .. }]));
    // Theirs leaves, ours does, and theirs is back before anybody looked again.
    kernel.write("sys/kernel/debug/kprobes/list", list);
    assert!(matches!(&look(own(&["cmdline_proc_show"], 1))[..], [SiteChange::Left { .. }]));
    assert!(matches!(&look(own(&[], 2))[..], [SiteChange::Appeared { .. }]));
}

#[test]
fn a_kprobe_inside_a_function_with_ours_at_its_entry_stays_theirs() {
    let kernel = Copy::of("6.12");
    let mut follower = kernel.follower(Request::default());
    let theirs = "ffffffff8551c2f9  k  cmdline_proc_show+0x9    [OPTIMIZED]\n";
    kernel.write("sys/kernel/debug/kprobes/list", theirs);
    assert!(matches!(&look(&mut follower)[..], [SiteChange::Appeared { .. }]));
    let ours = "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n";
    kernel.write("sys/kernel/debug/kprobes/list", &[theirs, ours].concat());
    let changes = look_around(&mut follower, &["cmdline_proc_show"]);
    assert!(changes.is_empty(), "{changes:?}");
}

/// A livepatch of a function in a module that comes and goes.
struct Demo<'a> {
    kernel: &'a Copy,
    kallsyms: String,
    traceable: String,
}

const KALLSYMS: &str = "proc/kallsyms";
const TRACEABLE: &str = "sys/kernel/tracing/available_filter_functions";

impl<'a> Demo<'a> {
    fn new(kernel: &'a Copy) -> Self {
        let read = |path| std::fs::read_to_string(kernel.0.path().join(path)).unwrap();
        kernel.write("sys/kernel/livepatch/fix/enabled", "1\n");
        kernel.write("sys/kernel/livepatch/fix/transition", "0\n");
        kernel.write("sys/kernel/livepatch/fix/demo/demo_run,1/x", "");
        Self { kernel, kallsyms: read(KALLSYMS), traceable: read(TRACEABLE) }
    }

    fn load_at(&self, page: &str) {
        let Self { kernel, kallsyms, traceable } = self;
        kernel.write("proc/modules", &format!("demo 16384 0 - Live 0xffffffff{page}000 (OE)\n"));
        kernel.write(KALLSYMS, &format!("{kallsyms}ffffffff{page}010 t demo_run\t[demo]\n"));
        kernel.write(TRACEABLE, &format!("{traceable}demo_run [demo]\n"));
        kernel.write("sys/kernel/tracing/enabled_functions", "demo_run [demo] (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n");
    }

    fn unload(&self) {
        let Self { kernel, kallsyms, traceable } = self;
        for (path, text) in [
            ("proc/modules", ""),
            (KALLSYMS, kallsyms),
            (TRACEABLE, traceable),
            ("sys/kernel/tracing/enabled_functions", ""),
        ] {
            kernel.write(path, text);
        }
    }
}

#[test]
fn a_livepatch_whose_module_loads_later_is_attached_to_when_it_does() {
    let kernel = Copy::of("6.1");
    let demo = Demo::new(&kernel);
    demo.unload();
    let mut follower = kernel.follower(Request::default());
    assert!(look(&mut follower).is_empty());
    for _ in 0..2 {
        demo.load_at("c0a00");
        let changes = look(&mut follower);
        let [SiteChange::Appeared { site, row, planned: Some(planned) }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(
            (site.function.as_str(), row.point, row.required),
            ("demo_run", Point::PatchedFunction, true)
        );
        assert_eq!(planned.probe.mechanism, Mechanism::KprobeFtrace);
        assert_eq!(planned.probe.handlers[0].name, "fix");
        assert!(look(&mut follower).is_empty());
        demo.unload();
        let changes = look(&mut follower);
        let [SiteChange::Left { function, because }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((function.as_str(), *because), ("demo_run", "the function's module was unloaded"));
    }
}

#[test]
fn a_module_that_was_unloaded_and_loaded_again_has_its_function_probed_anew() {
    let kernel = Copy::of("6.1");
    let demo = Demo::new(&kernel);
    demo.load_at("c0a00");
    let mut follower = kernel.follower(Request::default());
    assert!(look(&mut follower).is_empty());
    demo.load_at("c0b00");
    let changes = look(&mut follower);
    assert!(matches!(&changes[..], [SiteChange::Left { .. }, SiteChange::Appeared { .. }]), "{changes:?}");
}

#[test]
fn what_comes_leaves_a_sign_and_a_module_in_use_does_not() {
    let kernel = Copy::of("6.12");
    let module = |users: u32| format!("demo 16384 {users} - Live 0xffffffffc0247000 (OE)\n");
    kernel.write("proc/modules", &module(0));
    let mut follower = kernel.follower(Request::default());
    // The first time there was nothing to compare with.
    let seen = |follower: &mut Follower<Captured>| (follower.sees_a_sign(), follower.sees_a_sign());
    assert_eq!(seen(&mut follower), (true, false));
    kernel.write("proc/modules", &module(1));
    assert!(!follower.sees_a_sign());
    for (path, text) in [
        ("proc/modules", ""),
        ("sys/kernel/debug/kprobes/list", "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n"),
        ("sys/kernel/tracing/current_tracer", "function\n"),
        ("sys/kernel/tracing/dynamic_events", "f:fprobes/vfs_read vfs_read\n"),
        ("proc/sys/kernel/stack_tracer_enabled", "1\n"),
    ] {
        kernel.write(path, text);
        assert_eq!(seen(&mut follower), (true, false), "{path}");
    }
}

#[test]
fn a_function_tracer_with_options_has_one_name_with_and_without_our_probe_beside_it() {
    let kernel = Copy::of("6.1");
    kernel.write("sys/kernel/tracing/current_tracer", "function\n");
    kernel.write("sys/kernel/tracing/set_ftrace_filter", "arch_cpu_idle\n");
    kernel.write("sys/kernel/tracing/options/func_stack_trace", "1\n");
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "arch_cpu_idle (1)      \ttramp: 0xffffffffc04ab000 (function_stack_trace_call+0x0/0x1b0) ->function_stack_trace_call+0x0/0x1b0\n",
    );
    let mut follower = kernel.follower(Request::default());
    assert!(look(&mut follower).is_empty());
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff968356d0  k  arch_cpu_idle+0x0    [FTRACE]\n");
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "arch_cpu_idle (2) R    ->arch_ftrace_ops_list_func+0x0/0x1d0\n",
    );
    let changes = look_around(&mut follower, &["arch_cpu_idle"]);
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn a_kprobe_on_a_function_that_nobody_asked_about_before_is_planned_for() {
    let kernel = Copy::of("6.12");
    let mut follower = kernel.follower(Request::default());
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n");
    kernel.write("sys/kernel/tracing/enabled_functions", "cmdline_proc_show (1) R         \ttramp: 0xffffffffc0247000 (kprobe_ftrace_handler+0x0/0x1d0) ->kprobe_ftrace_handler+0x0/0x1d0\n");
    let changes = look_around(&mut follower, &[]);
    let [SiteChange::Appeared { site, planned: Some(planned), .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(site.handlers[0].kind, HandlerKind::Kprobe);
    assert_eq!(planned.probe.mechanism, Mechanism::Fentry);
}

#[test]
fn a_tracer_that_the_kernel_no_longer_names_keeps_its_name_once_our_probe_has_joined_it() {
    let kernel = Copy::of("6.12");
    let mut follower = kernel.follower(Request::default());
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "cmdline_proc_show (1)    \ttramp: 0xffffffffc0247000 (fprobe_handler+0x0/0x1d0) ->fprobe_handler+0x0/0x1d0\n",
    );
    assert!(matches!(&look(&mut follower)[..], [SiteChange::Appeared { .. }]));
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n");
    kernel.write(
        "sys/kernel/tracing/enabled_functions",
        "cmdline_proc_show (2) R    ->arch_ftrace_ops_list_func+0x0/0x1d0\n",
    );
    let changes = look_around(&mut follower, &["cmdline_proc_show"]);
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn a_handler_that_is_switched_off_in_mid_run_is_one_no_more_and_with_ftrace_off_our_probe_stays() {
    let kernel = Copy::of("6.1");
    let mut follower = kernel.follower(Request::default());
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff8551ddd9  k  default_idle+0x9    \n");
    kernel.write("sys/kernel/debug/kprobes/enabled", "1\n");
    let changes = look(&mut follower);
    assert!(matches!(&changes[..], [SiteChange::Appeared { .. }]), "{changes:?}");
    kernel.write("sys/kernel/debug/kprobes/enabled", "0\n");
    let changes = look(&mut follower);
    assert!(matches!(&changes[..], [SiteChange::Left { .. }]), "{changes:?}");
    kernel.write("sys/kernel/debug/kprobes/enabled", "1\n");
    kernel.write("sys/kernel/debug/kprobes/list", "ffffffff8551ddd4  k  default_idle+0x4    [FTRACE]\n");
    assert!(matches!(&look(&mut follower)[..], [SiteChange::Appeared { .. }]));
    kernel.write("proc/sys/kernel/ftrace_enabled", "0\n");
    let changes = look(&mut follower);
    let [SiteChange::Changed { site }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((site.function.as_str(), site.handlers.len()), ("default_idle", 0));
}
