//! On which CPU, in which task and on which kernel: the lines of a splat that say so.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

use crate::dmesg::splat::Task;
use crate::units::CpuId;

/// As much as one line has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub cpu: Option<CpuId>,
    pub task: Option<Task>,
    pub kernel: Option<String>,
    /// The line begins a dump of a CPU: `CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.0 #1`.
    pub is_dump: bool,
    /// The line lists the locks of this task.
    pub holds: bool,
}

/// Who a line speaks of; nobody, for most.
pub(super) fn of(text: &str) -> Who {
    let is_dump = text.starts_with("CPU: ") || text.starts_with("Pid: ");
    if is_dump || text.starts_with("WARNING: ") {
        return dump(text, is_dump);
    }
    let holder = text
        .split_once("locks held by ")
        .or_else(|| text.split_once("lock held by "))
        .map(|(_, rest)| rest.trim_end_matches([':', '.', ' ']));
    if let Some((comm, pid)) = holder.and_then(|holder| holder.rsplit_once('/'))
        && let Ok(pid) = pid.parse()
    {
        return Who { task: Some(Task { pid, comm: comm.to_owned() }), holds: true, ..Who::default() };
    }
    Who::default()
}

fn dump(text: &str, is_dump: bool) -> Who {
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
    let number = |rest: &str| rest.split([' ', ',', ':']).next().and_then(|word| word.parse::<u32>().ok());
    let cpu = after("CPU: ").or_else(|| after("CPU#")).and_then(number).map(CpuId);
    let pid = after("PID: ").or_else(|| after("Pid: ")).and_then(number);
    // A name may have blanks: it ends where what follows it begins.
    let comm = after("Comm: ").or_else(|| after(", comm: ")).map(|rest| {
        let ends = [" Not tainted", " Tainted:", " Kdump:"];
        let end = ends.iter().filter_map(|end| rest.find(end)).min();
        end.map_or_else(|| rest.trim_end(), |end| &rest[..end])
    });
    // `CPU#3: swapper/3/0`
    let newer =
        after("CPU#").and_then(|rest| rest.split_once(": ")).and_then(|(_, who)| who.trim().rsplit_once('/'));
    let task = match (comm, newer) {
        (Some(comm), _) => Some(Task { pid: pid.unwrap_or(0), comm: comm.to_owned() }),
        (None, Some((comm, pid))) => pid.parse().ok().map(|pid| Task { pid, comm: comm.to_owned() }),
        (None, None) => pid.map(|pid| Task { pid, comm: String::new() }),
    };
    let release = |word: &&str| word.as_bytes().first().is_some_and(u8::is_ascii_digit) && word.contains('.');
    let tainted = after("Not tainted").or_else(|| after("Tainted:"));
    let kernel = tainted.and_then(|rest| rest.split_whitespace().find(release)).map(str::to_owned);
    Who { cpu, task, kernel, is_dump, holds: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Option<u32>, Option<u32>, String, Option<String>) {
        let Who { cpu, task, kernel, .. } = of(text);
        let (pid, comm) = task.map_or((None, String::new()), |task| (Some(task.pid), task.comm));
        (cpu.map(|cpu| cpu.0), pid, comm, kernel)
    }

    fn some(
        cpu: Option<u32>,
        pid: u32,
        comm: &str,
        kernel: Option<&str>,
    ) -> (Option<u32>, Option<u32>, String, Option<String>) {
        (cpu, Some(pid), comm.to_owned(), kernel.map(str::to_owned))
    }

    #[test]
    fn the_lines_that_say_who_are_read_in_every_kernels_form() {
        assert_eq!(
            told("CPU: 1 UID: 0 PID: 7 Comm: CPU 0/KVM Tainted: G        W          6.1.0-rc1 #1"),
            some(Some(1), 7, "CPU 0/KVM", Some("6.1.0-rc1"))
        );
        assert_eq!(told("CPU: 2 PID: 0 Comm: swapper/2 Not tainted"), some(Some(2), 0, "swapper/2", None));
        assert_eq!(
            told("Pid: 2224, comm: trinity-main Not tainted 3.7.0-rc1 #1"),
            some(None, 2224, "trinity-main", Some("3.7.0-rc1"))
        );
        assert_eq!(
            told("WARNING: kernel/x.c:1 at f+0x1/0x2, CPU#3: swapper/3/0"),
            some(Some(3), 0, "swapper/3", None)
        );
        assert_eq!(
            told("WARNING: CPU: 14 PID: 5267 at include/x.h:162 f+0x1/0x2"),
            some(Some(14), 5267, "", None)
        );
        assert_eq!(told("3 locks held by kworker/0:1/77:"), some(None, 77, "kworker/0:1", None));
        assert_eq!(told("no locks held by swapper/6/0."), some(None, 0, "swapper/6", None));
        assert_eq!(told("smpboot: CPU: 1 is up"), (None, None, String::new(), None));
    }
}
