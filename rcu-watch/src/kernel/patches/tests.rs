//! Livepatches of a kernel that is a tree of files, look after look.

use std::path::PathBuf;

use rcu_watch_core::report::patches::{ForcedSource, OrderSource, TaskStates};
use tempfile::TempDir;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A kernel in a directory.
struct Kernel {
    root: TempDir,
}

impl Kernel {
    /// With one task, which has moved wherever there is a transition.
    fn new() -> Self {
        let kernel = Self { root: tempfile::tempdir().unwrap() };
        kernel.task(1, "(init) S", 0, 1, "");
        kernel
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn remove(&self, directory: &str) {
        std::fs::remove_dir_all(self.path(directory)).unwrap();
    }

    fn patch(&self, name: &str, enabled: u8, transition: u8, functions: &[&str]) {
        let file = |file| format!("sys/kernel/livepatch/{name}/{file}");
        self.write(&file("enabled"), &format!("{enabled}\n"));
        self.write(&file("transition"), &format!("{transition}\n"));
        for function in functions {
            std::fs::create_dir_all(self.path(&file(function))).unwrap();
        }
    }

    fn task(&self, pid: u32, name_and_state: &str, flags: u32, patch_state: i8, stack: &str) {
        let file = |file| format!("proc/{pid}/task/{pid}/{file}");
        let stat = format!("{pid} {name_and_state} 2 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        self.write(&file("stat"), &stat);
        self.write(&file("patch_state"), &format!("{patch_state}\n"));
        self.write(&file("stack"), stack);
    }

    fn patches(&self) -> Patches {
        Patches::new(Tree::under(self.root.path()), Nanos(15 * SECOND))
    }
}

const KTHREAD: u32 = 0x0020_0000;
const IN_F: &str = "[<0>] msleep+0x2d/0x40\n[<0>] f+0x1c/0x30\n[<0>] kthread+0xcf/0x100\n";

fn look(patches: &mut Patches, second: u64) -> PatchesSeen {
    patches.look(Nanos(second * SECOND)).unwrap()
}

fn transition(seen: &PatchesSeen) -> &PatchTransition {
    seen.patches[0].transition.as_ref().unwrap()
}

#[test]
fn a_kernel_without_livepatching_says_so() {
    let kernel = Kernel::new();
    assert!(kernel.patches().absent().unwrap().why.contains("/sys is not mounted"));
    kernel.write("sys/kernel/notes", "");
    assert!(kernel.patches().absent().unwrap().why.contains("CONFIG_LIVEPATCH"));
    kernel.patch("lp", 1, 0, &[]);
    assert_eq!(kernel.patches().absent(), None);
}

#[test]
fn a_livepatch_tells_its_objects_their_state_and_what_is_on_top() {
    let kernel = Kernel::new();
    kernel.patch("old", 1, 0, &["vmlinux/f,1", "vmlinux/g,1"]);
    kernel.patch("new", 1, 0, &["vmlinux/f,1", "nft/show,2", "ext4/h,1", "xfs/i,1"]);
    kernel.write("sys/kernel/livepatch/new/vmlinux/patched", "1\n");
    kernel.write("sys/kernel/livepatch/new/nft/patched", "0\n");
    kernel.write("sys/kernel/livepatch/new/ext4/patched", "0\n");
    kernel.write("sys/kernel/livepatch/new/replace", "0\n");
    kernel.write("proc/modules", "xfs 1 0 - Live 0x0\nnew 1 0 - Live 0x0\next4 1 0\nold 1 0 - Live 0x0\n");
    let seen = look(&mut kernel.patches(), 100);
    let [new, old] = seen.patches.as_slice() else { panic!("{seen:?}") };
    let states: Vec<_> = new.objects.iter().map(|o| (o.object.as_str(), o.state)).collect();
    assert_eq!(
        states,
        [
            ("ext4", ObjectState::Unpatched),
            ("nft", ObjectState::Waiting),
            ("vmlinux", ObjectState::Patched),
            ("xfs", ObjectState::Loaded)
        ]
    );
    assert_eq!(new.objects[1].functions[0].sympos, 2);
    assert_eq!((new.replace, old.replace), (Some(false), None));
    assert_eq!(
        new.order.unwrap(),
        rcu_watch_core::report::patches::Order { place: 2, by: OrderSource::Modules }
    );
    assert_eq!(old.objects[0].functions[0].stack, ["new", "old"]);
    assert_eq!(old.objects[0].functions[1].stack, ["old"]);
    assert!(old.unknown[0].contains("this kernel does not tell"), "{:?}", old.unknown);
}

#[test]
fn the_kernels_own_order_comes_before_that_of_the_modules() {
    let kernel = Kernel::new();
    for (name, place) in [("a", 2), ("b", 1)] {
        kernel.patch(name, 1, 0, &["vmlinux/f,1"]);
        kernel.write(&format!("sys/kernel/livepatch/{name}/stack_order"), &format!("{place}\n"));
    }
    kernel.write("proc/modules", "b 1 0\na 1 0\n");
    let seen = look(&mut kernel.patches(), 100);
    assert_eq!(seen.patches[0].order.unwrap().by, OrderSource::StackOrder);
    assert_eq!(seen.patches[1].objects[0].functions[0].stack, ["a", "b"]);
}

#[test]
fn a_transition_that_a_kthread_holds_names_it_with_its_function_and_stack() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    kernel.task(7, "(lp_sleeper) D", KTHREAD, 0, IN_F);
    kernel.task(8, "(spins) R", 0, 0, "");
    let mut patches = kernel.patches();
    patches.log.add("[    2.000000] livepatch: 'lp': starting patching transition");
    let seen = look(&mut patches, 37);
    let transition = transition(&seen);
    assert_eq!(transition.tasks, TaskStates { original: 2, patched: 1, ..TaskStates::default() });
    assert_eq!(
        (transition.age_ns, transition.since, transition.stalled),
        (Nanos(35 * SECOND), Since::Log, true)
    );
    let [sleeper, spins] = transition.holders.as_slice() else { panic!("{transition:?}") };
    assert_eq!(sleeper.state, "kthread, sleeps uninterruptibly");
    assert_eq!(sleeper.function.as_deref(), Some("f"));
    assert!(sleeper.help.as_ref().unwrap().starts_with("it must return from f"));
    assert_eq!(sleeper.stack[1].label(), "f+0x1c");
    assert_eq!((spins.state.as_str(), spins.function.as_deref()), ("runs", None));
}

#[test]
fn back_from_a_livepatch_its_own_functions_hold() {
    let kernel = Kernel::new();
    kernel.patch("lp", 0, 1, &["vmlinux/f,1"]);
    kernel.task(1, "(init) S", 0, 0, "");
    kernel.task(7, "(a) S", 0, 1, "[<0>] f+0x1/0x2\n[<0>] livepatch_f+0x1/0x2 [lp]\n");
    let seen = look(&mut kernel.patches(), 100);
    let transition = transition(&seen);
    assert!(!transition.to_patched);
    assert_eq!((transition.moved(), transition.holding), (1, 1));
    assert_eq!(transition.holders[0].function.as_deref(), Some("f"));
    assert!(transition.holders[0].help.as_ref().unwrap().contains("a signal may wake it"));
}

#[test]
fn what_an_earlier_livepatch_put_there_holds_a_later_one() {
    let kernel = Kernel::new();
    kernel.patch("old", 1, 0, &["vmlinux/f,1"]);
    kernel.patch("new", 1, 1, &["vmlinux/f,1"]);
    kernel.task(7, "(a) S", 0, 0, "[<0>] my_f+0x1/0x2 [old]\n");
    let seen = look(&mut kernel.patches(), 100);
    assert_eq!(transition(&seen).holders[0].function.as_deref(), Some("f"));
}

#[test]
fn an_idle_task_is_named_once_every_other_task_has_long_moved() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    let mut patches = kernel.patches();
    assert!(transition(&look(&mut patches, 100)).holders.is_empty());
    assert!(transition(&look(&mut patches, 102)).holders.is_empty());
    let seen = look(&mut patches, 103);
    assert_eq!(transition(&seen).holders[0].state, "the idle task of some CPU");
    assert_eq!(transition(&seen).holding, 0);
}

#[test]
fn where_tasks_are_hidden_no_idle_task_is_blamed() {
    let kernel = Kernel::new();
    kernel.remove("proc/1");
    kernel.task(7, "(a) S", 0, 1, "");
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    let mut patches = kernel.patches();
    look(&mut patches, 100);
    let seen = look(&mut patches, 110);
    assert!(!transition(&seen).sees_all && transition(&seen).holders.is_empty());
    assert!(seen.patches[0].unknown.iter().any(|reason| reason.contains("hidepid")));
}

#[test]
fn without_a_log_the_age_is_a_bound_that_says_so() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &[]);
    let directory = std::fs::File::open(kernel.path("sys/kernel/livepatch/lp")).unwrap();
    directory.set_modified(SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
    let mut patches = kernel.patches();
    let seen = look(&mut patches, 100);
    assert_eq!(transition(&seen).since, Since::Loaded);
    assert!(transition(&seen).age_ns.0 >= 60 * SECOND && transition(&seen).stalled);
    // On the way back nothing tells how long ago it set out.
    kernel.write("sys/kernel/livepatch/lp/enabled", "0\n");
    assert_eq!(transition(&look(&mut patches, 101)).age_ns, Nanos(0));
    let seen = look(&mut patches, 117);
    assert_eq!((transition(&seen).age_ns, transition(&seen).since), (Nanos(16 * SECOND), Since::Seen));
}

#[test]
fn a_forced_transition_is_known_by_the_log_with_those_that_held_it() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    kernel.task(7, "(a) S", 0, 0, IN_F);
    let mut patches = kernel.patches();
    patches.log.add("[   99.000000] livepatch: 'lp': starting patching transition");
    look(&mut patches, 100);
    patches.log.add("[  100.500000] livepatch: forcing remaining tasks to the patched state");
    patches.log.add("[  101.000000] livepatch: 'lp': patching complete");
    kernel.patch("lp", 1, 0, &[]);
    let seen = look(&mut patches, 102);
    let forced = seen.patches[0].forced.as_ref().unwrap();
    assert_eq!((forced.ts_ns, forced.by), (Nanos(100_500_000_000), ForcedSource::Log));
    assert_eq!(forced.holders[0].task.as_ref().unwrap().pid, 7);
    assert_eq!(seen.forced.len(), 1);
    // The module was loaded again since.
    patches.log.add("[  110.000000] livepatch: enabling patch 'lp'");
    assert_eq!(look(&mut patches, 111).patches[0].forced, None);
}

#[test]
fn without_a_log_a_task_that_is_in_old_code_still_shows_that_it_was_forced() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    kernel.task(7, "(a) S", 0, 0, IN_F);
    kernel.task(8, "(b) S", 0, 0, IN_F);
    let mut patches = kernel.patches();
    look(&mut patches, 100);
    kernel.task(8, "(b) S", 0, -1, "[<0>] msleep+0x1/0x2\n[<0>] new_f+0x1c/0x30 [lp]\n");
    kernel.patch("lp", 1, 0, &[]);
    let seen = look(&mut patches, 101);
    let forced = seen.patches[0].forced.as_ref().unwrap();
    assert_eq!(
        (forced.ts_ns, forced.by, forced.holders.len()),
        (Nanos(101 * SECOND), ForcedSource::Stack, 1)
    );
    assert_eq!(look(&mut patches, 102).forced.len(), 1);
}

#[test]
fn a_transition_that_turned_back_was_not_forced() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    kernel.task(7, "(a) S", 0, 0, IN_F);
    let mut patches = kernel.patches();
    look(&mut patches, 100);
    kernel.remove("sys/kernel/livepatch/lp");
    let seen = look(&mut patches, 101);
    assert!(seen.patches.is_empty() && seen.forced.is_empty(), "{seen:?}");
}

#[test]
fn holders_beyond_those_named_are_counted() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 1, &["vmlinux/f,1"]);
    for pid in 100..130 {
        kernel.task(pid, "(a) S", 0, 0, "");
    }
    kernel.task(500, "(b) S", 0, 0, IN_F);
    let seen = look(&mut kernel.patches(), 100);
    assert_eq!((transition(&seen).holding, transition(&seen).holders.len()), (31, 20));
    assert_eq!(transition(&seen).holders[0].task.as_ref().unwrap().pid, 500);
}

#[test]
fn a_livepatch_that_goes_away_while_it_is_read_is_left_out() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 0, &["vmlinux/f,1"]);
    std::fs::create_dir_all(kernel.path("sys/kernel/livepatch/going/vmlinux")).unwrap();
    let seen = look(&mut kernel.patches(), 100);
    assert_eq!(seen.patches.iter().map(|patch| patch.patch.as_str()).collect::<Vec<_>>(), ["lp"]);
}

/// One task that has moved, of two: the kernel counts 0 for the original functions, 1 for the patched ones.
fn one_moved(kernel: &Kernel, from: i8, to: i8) {
    kernel.task(1, "(init) S", 0, to, "");
    kernel.task(7, "(lp_sleeper) D", KTHREAD, from, "[<0>] f+0x1c/0x30 [lp]\n");
}

#[test]
fn a_transition_back_is_one_before_the_flag_says_so_and_no_older_than_it_is() {
    let kernel = Kernel::new();
    kernel.patch("lp", 1, 0, &["vmlinux/f,1"]);
    let mut patches = kernel.patches();
    look(&mut patches, 100);
    kernel.patch("lp", 1, 1, &[]);
    one_moved(&kernel, 1, 0);
    // The directory is much older.
    let loaded = SystemTime::now() - std::time::Duration::from_secs(500);
    let directory = std::fs::File::open(kernel.path("sys/kernel/livepatch/lp")).unwrap();
    directory.set_modified(loaded).unwrap();
    let seen = look(&mut patches, 101);
    let begun = transition(&seen);
    assert_eq!((begun.to_patched, begun.age_ns, begun.stalled), (false, Nanos(0), false));
    let held: Vec<_> = begun.holders.iter().map(|holder| holder.task.as_ref().unwrap().pid).collect();
    assert_eq!((held, begun.holders[0].function.as_deref()), (vec![7], Some("f")));
    let seen = look(&mut patches, 102);
    assert_eq!((transition(&seen).to_patched, transition(&seen).age_ns), (false, Nanos(SECOND)));
    // Now the flag says so too: it is the same transition.
    kernel.patch("lp", 0, 1, &[]);
    let seen = look(&mut patches, 103);
    assert_eq!((transition(&seen).to_patched, transition(&seen).age_ns), (false, Nanos(2 * SECOND)));
    // It is turned back.
    kernel.patch("lp", 1, 1, &[]);
    let seen = look(&mut patches, 104);
    assert_eq!((transition(&seen).to_patched, transition(&seen).age_ns), (true, Nanos(0)));
}

#[test]
fn where_nothing_was_seen_before_the_log_tells_where_a_transition_goes() {
    let to_patched = |enabled, lines: &[&str]| {
        let kernel = Kernel::new();
        kernel.patch("lp", enabled, 1, &["vmlinux/f,1"]);
        let mut patches = kernel.patches();
        for (second, line) in lines.iter().enumerate() {
            patches.log.add(&format!("[    {second}.000000] livepatch: {line}"));
        }
        transition(&look(&mut patches, 30)).to_patched
    };
    let (on, is_on) = ("'lp': starting patching transition", "'lp': patching complete");
    let off = "'lp': starting unpatching transition";
    assert!(to_patched(0, &["enabling patch 'lp'"]));
    assert!(to_patched(0, &["enabling patch 'lp'", on]));
    assert!(!to_patched(1, &[on, is_on]));
    assert!(!to_patched(1, &[on, is_on, off]));
    assert!(!to_patched(1, &[off, "forcing remaining tasks to the unpatched state"]));
    // It tells nothing.
    assert!(to_patched(1, &["enabling patch 'other'"]) && !to_patched(0, &[]));
}
