//! Threads that run, or want to, and neither sleep nor go to user mode: what RCU-tasks waits for.
//!
//! `kernel/rcu/tasks.h:check_holdout_task` lets a task go when it sleeps, when its count of voluntary switches moves, or
//! when a timer tick finds it in user mode. Its own mark (`rcu_tasks_holdout`) is in the task's struct, which could only be
//! found by walking the list of all tasks; files of `/proc` tell the same of a thread that is looked at twice.

use std::path::Path;

use rcu_watch_core::report::finding::TaskReport;

use crate::kernel::read::mount::Tree;

/// A thread that is running or waits for a CPU.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Busy {
    pub task: TaskReport,
    /// Ticks in user mode.
    user_ticks: u64,
    voluntary_switches: u64,
}

impl Busy {
    /// Whether it has stayed in the kernel, awake, since `before`.
    #[must_use]
    pub(crate) fn stayed(&self, before: &Self) -> bool {
        self.task.pid == before.task.pid
            && (self.user_ticks, self.voluntary_switches) == (before.user_ticks, before.voluntary_switches)
    }
}

/// All of them, this process's own left out. Threads that end meanwhile are left out too.
#[must_use]
pub(crate) fn read(tree: &Tree) -> Vec<Busy> {
    let numbers = |path: &Path| -> Vec<u32> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    let mut busy = Vec::new();
    let proc = tree.path("/proc");
    for tgid in numbers(&proc) {
        if tgid == std::process::id() {
            continue;
        }
        let threads = proc.join(tgid.to_string()).join("task");
        for pid in numbers(&threads) {
            busy.extend(thread(&threads.join(pid.to_string()), pid, tgid));
        }
    }
    busy
}

/// `None` where it sleeps, or is gone.
fn thread(directory: &Path, pid: u32, tgid: u32) -> Option<Busy> {
    let stat = std::fs::read(directory.join("stat")).ok()?;
    let (comm, user_ticks) = running(&String::from_utf8_lossy(&stat))?;
    let status = std::fs::read(directory.join("status")).ok()?;
    Some(Busy {
        task: TaskReport { pid, tgid, comm, idle: false },
        user_ticks,
        voluntary_switches: voluntary_switches(&String::from_utf8_lossy(&status))?,
    })
}

/// Name and ticks in user mode of a line of `stat`; `None` where the state is not `R`. The name may have any character, so
/// that its end is the last parenthesis.
fn running(stat: &str) -> Option<(String, u64)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, comm) = head.split_once('(')?;
    // proc(5) counts from 1: the state is the 3rd field, utime the 14th.
    let mut fields = rest.split_ascii_whitespace();
    if fields.next()? != "R" {
        return None;
    }
    Some((comm.to_owned(), fields.nth(14 - 4)?.parse().ok()?))
}

fn voluntary_switches(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) S (b) R 2 0 0 0 -1 69238880 0 0 0 0 11 22 0 0 20 0 1 0 4711 0 0";

    fn busy(user_ticks: u64, voluntary_switches: u64) -> Busy {
        let task = TaskReport { pid: 7, ..TaskReport::default() };
        Busy { task, user_ticks, voluntary_switches }
    }

    #[test]
    fn a_name_may_look_like_a_state_and_only_what_runs_is_read() {
        assert_eq!(running(STAT), Some(("a) S (b".to_owned(), 11)));
        assert_eq!(running(&STAT.replace(") R", ") D")), None);
        assert_eq!(running("7 (a"), None);
    }

    #[test]
    fn voluntary_switches_are_not_those_that_were_forced() {
        let status = "Name:\ta\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(voluntary_switches(status), Some(150));
    }

    #[test]
    fn a_thread_that_slept_or_was_in_user_mode_did_not_stay() {
        assert!(busy(1, 5).stayed(&busy(1, 5)));
        assert!(!busy(2, 5).stayed(&busy(1, 5)));
        assert!(!busy(1, 6).stayed(&busy(1, 5)));
    }
}
