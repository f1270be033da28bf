//! How far each task has come in a livepatch's transition, from `/proc/PID/task/TID/patch_state`.
//!
//! The file has -1 outside of a transition, 0 for what was there before, 1 for the livepatch
//! (fs/proc/base.c:proc_pid_patch_state). The idle tasks are not in /proc. Tasks end while they are read: one that is
//! gone holds nothing, and is not counted.

use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rcu_watch_core::report::patches::TaskStates;

use crate::kernel::read::support::Reason;

/// The inode of the first pid namespace (include/uapi/linux/nsfs.h:PID_NS_INIT_INO).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// A thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadId {
    pub tgid: u32,
    pub tid: u32,
}

impl ThreadId {
    /// Its directory.
    #[must_use]
    pub(crate) fn directory(self, proc: &Path) -> PathBuf {
        proc.join(format!("{}/task/{}", self.tgid, self.tid))
    }
}

/// All tasks of /proc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatchStates {
    pub states: TaskStates,
    /// Those that run what was there before.
    pub original: Vec<ThreadId>,
    /// Those that run the livepatch's functions.
    pub patched: Vec<ThreadId>,
    /// Why tasks may be missing.
    pub hidden: Option<Reason>,
}

/// Reads the state of every task.
///
/// # Errors
/// Where /proc cannot be listed.
pub(crate) fn read(proc: &Path) -> Result<PatchStates, Reason> {
    let mut all = PatchStates::default();
    let mut sees_first = false;
    let processes = std::fs::read_dir(proc).map_err(|error| Reason::unreadable(proc, &error))?;
    for tgid in processes.flatten().filter_map(|entry| number(&entry)) {
        sees_first |= tgid == 1;
        let Ok(threads) = std::fs::read_dir(proc.join(format!("{tgid}/task"))) else {
            // It has ended, or it is somebody else's, and /proc is mounted with hidepid.
            all.states.unread += u64::from(proc.join(tgid.to_string()).exists());
            continue;
        };
        for tid in threads.flatten().filter_map(|entry| number(&entry)) {
            all.add(proc, ThreadId { tgid, tid });
        }
    }
    all.hidden = hidden(proc, sees_first, all.states.unread);
    Ok(all)
}

impl PatchStates {
    fn add(&mut self, proc: &Path, thread: ThreadId) {
        match read_one(&thread.directory(proc)) {
            Ok(Some(-1)) => self.states.none += 1,
            Ok(Some(0)) => {
                self.states.original += 1;
                self.original.push(thread);
            }
            Ok(Some(1)) => {
                self.states.patched += 1;
                self.patched.push(thread);
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.states.unread += 1,
        }
    }
}

/// `None` where the task is gone.
fn read_one(thread: &Path) -> io::Result<Option<i32>> {
    let mut text = [0; 16];
    let read = std::fs::File::open(thread.join("patch_state")).and_then(|mut file| file.read(&mut text));
    match read {
        Ok(length) => {
            let text = str::from_utf8(&text[..length]).unwrap_or_default();
            text.trim().parse().map(Some).map_err(io::Error::other)
        }
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn hidden(proc: &Path, sees_first: bool, unread: u64) -> Option<Reason> {
    let namespace = std::fs::read_link(proc.join("self/ns/pid"));
    if namespace.is_ok_and(|namespace| namespace.as_os_str() != FIRST_NAMESPACE) {
        let why = "this process is in a pid namespace of its own, and does not see the tasks outside of it";
        return Some(Reason::with_remedy(why, "run it on the host"));
    }
    if unread > 0 {
        return Some(Reason::with_remedy(
            "patch_state of other users' tasks is closed to this process",
            "run as root",
        ));
    }
    let why = "/proc is mounted with hidepid, and hides the tasks of others";
    (!sees_first).then(|| Reason::with_remedy(why, "run as root"))
}

fn number(entry: &std::fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(proc: &Path, thread: &str, state: &str) {
        let thread = proc.join(thread);
        std::fs::create_dir_all(&thread).unwrap();
        std::fs::write(thread.join("patch_state"), state).unwrap();
    }

    #[test]
    fn tasks_are_counted_by_their_state_and_threads_are_tasks() {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), "1/task/1", "1\n");
        write(proc.path(), "7/task/7", "0\n");
        write(proc.path(), "7/task/8", "1\n");
        write(proc.path(), "9/task/9", "-1\n");
        std::fs::create_dir_all(proc.path().join("sys/kernel")).unwrap();
        let all = read(proc.path()).unwrap();
        assert_eq!(all.states, TaskStates { none: 1, original: 1, patched: 2, unread: 0 });
        assert_eq!(all.original, [ThreadId { tgid: 7, tid: 7 }]);
        assert_eq!(all.hidden, None);
    }

    #[test]
    fn a_task_that_ended_in_between_is_not_counted() {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), "1/task/1", "1\n");
        std::fs::create_dir_all(proc.path().join("7/task/7")).unwrap();
        std::fs::create_dir_all(proc.path().join("8/task")).unwrap();
        let all = read(proc.path()).unwrap();
        assert_eq!(all.states, TaskStates { patched: 1, ..TaskStates::default() });
    }

    #[test]
    fn what_is_hidden_is_told_with_the_remedy() {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), "7/task/7", "1\n");
        assert!(read(proc.path()).unwrap().hidden.unwrap().why.contains("hidepid"));
        write(proc.path(), "1/task/1", "1\n");
        std::fs::create_dir_all(proc.path().join("self/ns")).unwrap();
        std::os::unix::fs::symlink("pid:[4026532000]", proc.path().join("self/ns/pid")).unwrap();
        assert!(read(proc.path()).unwrap().hidden.unwrap().why.contains("namespace"));
    }

    #[test]
    fn a_state_that_cannot_be_read_is_not_taken_for_moved() {
        let proc = tempfile::tempdir().unwrap();
        write(proc.path(), "1/task/1", "1\n");
        std::fs::create_dir_all(proc.path().join("7/task/7/patch_state")).unwrap();
        let all = read(proc.path()).unwrap();
        assert_eq!((all.states.unread, all.states.patched), (1, 1));
        assert!(all.hidden.is_some());
    }
}
