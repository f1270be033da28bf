//! Tasks that are in a function, by their stacks in `/proc/PID/task/TID/stack`.
//!
//! `[<0>] do_nanosleep+0x6a/0x190`, innermost first. Only what sleeps is read: the stack of a task that runs is gone
//! before it is printed. Tasks end while they are read, and there may be 30,000 of them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rcu_watch_core::forecast::{Sitter, SitterState};
use rcu_watch_core::report::finding::{StackFrame, TaskReport};

use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::kernel::read::thread::{self, Frame, Thread};

/// A function, by all of its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    pub names: &'a [String],
    /// `vmlinux`, or its module.
    pub object: &'a str,
}

/// A task that is in some of the functions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sitting {
    pub sitter: Sitter,
    /// Indices of the functions.
    pub functions: Vec<usize>,
}

/// All that were found, and whether all were looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sat {
    pub sitting: Vec<Sitting>,
    /// Tasks were left out, because there was no more time.
    pub is_sample: bool,
}

/// Longer than this nobody waits for an answer; 30,000 threads take less.
const TIME: Duration = Duration::from_secs(3);
/// Looks at all tasks that sleep.
///
/// # Errors
/// Why no stack can be read.
pub(crate) fn look(tree: &Tree, sought: &[Sought<'_>]) -> Result<Sat, Reason> {
    let proc = tree.path("/proc");
    readable(&proc)?;
    let until = Instant::now() + TIME;
    let mut sat = Sat::default();
    let processes = fs::read_dir(&proc).map_err(|e| Reason::unreadable(&proc, &e))?;
    for process in numbered(processes) {
        let Ok(threads) = fs::read_dir(process.1.join("task")) else { continue };
        for (tid, thread) in numbered(threads) {
            sat.sitting.extend(read(&thread, process.0, tid, sought));
        }
        if Instant::now() > until {
            sat.is_sample = true;
            break;
        }
    }
    Ok(sat)
}

/// Those of `before` that are still in one of the same functions.
#[must_use]
pub(crate) fn look_again(tree: &Tree, sought: &[Sought<'_>], before: &[Sitting]) -> Vec<Sitting> {
    let again = |before: &Sitting| {
        let TaskReport { pid, tgid, comm, .. } = &before.sitter.task;
        let mut now = read(&tree.path(&format!("/proc/{tgid}/task/{pid}")), *tgid, *pid, sought)?;
        now.functions.retain(|function| before.functions.contains(function));
        (now.sitter.task.comm == *comm && !now.functions.is_empty()).then_some(now)
    };
    before.iter().filter_map(again).collect()
}

/// Whether this process may read stacks: its own tells.
fn readable(proc: &Path) -> Result<(), Reason> {
    let own = proc.join("self/stack");
    fs::read(&own).map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Reason::new("this kernel shows no stacks in /proc (CONFIG_STACKTRACE)")
        }
        _ => Reason::with_remedy("the stacks of tasks are closed to this process", "run as root"),
    })
}

fn numbered(entries: fs::ReadDir) -> impl Iterator<Item = (u32, std::path::PathBuf)> {
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.flatten().filter_map(move |entry| Some((number(&entry)?, entry.path())))
}

/// `None` where it runs, is gone, or is in none of the functions.
fn read(directory: &Path, tgid: u32, pid: u32, sought: &[Sought<'_>]) -> Option<Sitting> {
    let thread = Thread::read(directory)?;
    let state = state_of(&thread)?;
    let frames = thread::stack(directory).ok()?;
    let is_in = |sought: &Sought<'_>| frames.iter().any(|frame| is_of(frame, sought));
    let functions: Vec<usize> =
        sought.iter().enumerate().filter(|(_, sought)| is_in(sought)).map(|(index, _)| index).collect();
    if functions.is_empty() {
        return None;
    }
    let stack = frames.iter().map(StackFrame::from).collect();
    let task = TaskReport { pid, tgid, comm: thread.comm, idle: false };
    Some(Sitting { sitter: Sitter { task, state, stack }, functions })
}

/// What may move it; `None` for a task that runs or is dead.
fn state_of(thread: &Thread) -> Option<SitterState> {
    Some(match thread.state {
        'R' | 'Z' | 'X' | 'x' => return None,
        _ if thread.is_kthread => SitterState::Kthread,
        'S' => SitterState::Interruptible,
        'T' | 't' => SitterState::Stopped,
        _ => SitterState::Uninterruptible,
    })
}

fn is_of(frame: &Frame, sought: &Sought<'_>) -> bool {
    frame.module.as_deref().unwrap_or("vmlinux") == sought.object && sought.names.contains(&frame.function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::read::thread::PF_KTHREAD;

    const STACK: &str =
        "[<0>] do_wait+0x60/0x200\n[<0>] lab_sleep+0x1c/0x90 [lab]\n[<0>] kthread+0xd8/0x100\n";

    struct Proc(tempfile::TempDir);

    impl Proc {
        fn new() -> Self {
            let proc = Self(tempfile::tempdir().unwrap());
            proc.write("self/stack", "[<0>] proc_pid_stack+0x9a/0x110\n");
            proc
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join("proc").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn task(&self, pid: u32, comm: &str, state: &str, flags: u64, stack: &str) {
            self.write(
                &format!("{pid}/task/{pid}/stat"),
                &format!("{pid} ({comm}) {state} 2 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0\n"),
            );
            self.write(&format!("{pid}/task/{pid}/stack"), stack);
        }

        fn tree(&self) -> Tree {
            Tree::under(self.0.path())
        }
    }

    fn names() -> [String; 2] {
        ["lab_sleep".to_owned(), "kthread".to_owned()]
    }

    #[test]
    fn who_sleeps_in_a_function_is_found_with_how_it_could_be_made_to_leave() {
        let proc = Proc::new();
        proc.task(45, "nfsd (x) y", "S", PF_KTHREAD, STACK);
        proc.task(46, "bash", "S", 0, STACK);
        proc.task(47, "dd", "D", 0, STACK);
        proc.task(48, "gdb", "t", 0, STACK);
        proc.task(49, "spin", "R", 0, STACK);
        proc.task(50, "other", "S", 0, "[<0>] do_wait+0x60/0x200\n");
        let names = names();
        let sought = [Sought { names: &names[..1], object: "lab" }];
        let mut sat = look(&proc.tree(), &sought).unwrap();
        sat.sitting.sort_by_key(|sitting| sitting.sitter.task.pid);
        let found: Vec<_> =
            sat.sitting.iter().map(|one| (one.sitter.task.comm.as_str(), one.sitter.state)).collect();
        assert_eq!(
            found,
            [
                ("nfsd (x) y", SitterState::Kthread),
                ("bash", SitterState::Interruptible),
                ("dd", SitterState::Uninterruptible),
                ("gdb", SitterState::Stopped)
            ]
        );
        let shown: Vec<_> =
            sat.sitting[0].sitter.stack.iter().filter_map(|frame| frame.symbol.as_deref()).collect();
        assert_eq!(shown, ["do_wait+0x60", "lab_sleep+0x1c [lab]", "kthread+0xd8"]);
        assert!(!sat.is_sample);
    }

    #[test]
    fn a_function_of_the_same_name_elsewhere_is_another() {
        let proc = Proc::new();
        proc.task(45, "nfsd", "S", PF_KTHREAD, STACK);
        let names = names();
        let sought = [
            Sought { names: &names[..1], object: "vmlinux" },
            Sought { names: &names[1..], object: "vmlinux" },
        ];
        assert_eq!(look(&proc.tree(), &sought).unwrap().sitting[0].functions, [1]);
    }

    #[test]
    fn who_has_left_meanwhile_or_ended_does_not_sit() {
        let proc = Proc::new();
        for pid in 45..48 {
            proc.task(pid, "nfsd", "S", PF_KTHREAD, STACK);
        }
        let names = names();
        let sought = [Sought { names: &names[..1], object: "lab" }];
        let before = look(&proc.tree(), &sought).unwrap().sitting;
        assert_eq!(before.len(), 3);
        proc.task(46, "nfsd", "S", PF_KTHREAD, "[<0>] do_wait+0x60/0x200\n");
        fs::remove_dir_all(proc.0.path().join("proc/47")).unwrap();
        let still = look_again(&proc.tree(), &sought, &before);
        assert_eq!(still.iter().map(|one| one.sitter.task.pid).collect::<Vec<_>>(), [45]);
    }

    #[test]
    fn stacks_that_are_not_there_are_a_reason() {
        let root = tempfile::tempdir().unwrap();
        assert!(look(&Tree::under(root.path()), &[]).unwrap_err().why.contains("CONFIG_STACKTRACE"));
    }
}
