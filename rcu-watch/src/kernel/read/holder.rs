//! Which process holds what: BPF programs and links, perf events, and files of a tracefs instance, by the descriptors
//! that each has open (`/proc/PID/fd`, `/proc/PID/fdinfo`).
//!
//! Processes end while they are read: what is gone is passed over. Processes that are hidden (`hidepid`, a PID
//! namespace, another user's) make the answer incomplete, and then nobody can say that nobody holds a thing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::probe::Owner;

use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;
use crate::sys::bpf::link::{self, Link};

/// Long ids of containers are told by their first digits.
const ID_DIGITS: usize = 12;
/// `ns_common.inum` of the first PID namespace: include/linux/proc_ns.h, PROC_PID_INIT_INO.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Who holds what, by process id; of our own process only the perf events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    pub programs: BTreeMap<u32, BTreeSet<u32>>,
    pub links: BTreeMap<u32, BTreeSet<u32>>,
    /// Perf events: process and descriptor.
    pub perf_events: Vec<(u32, u32)>,
    /// The BPF programs on perf events.
    pub on_events: Vec<Link>,
    /// Processes that hold perf events without one: the kernel does not tell what these are on.
    pub plain_events: BTreeSet<u32>,
    /// Instances of tracefs by name; `None` is the top one.
    pub instances: BTreeMap<Option<String>, BTreeSet<u32>>,
    /// Those that hold any of it.
    pub processes: BTreeMap<u32, Process>,
    /// Why there may be more.
    pub incomplete: Option<Reason>,
}

/// A process that holds something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub comm: String,
    pub cgroup: Option<String>,
    pub container: Option<String>,
    /// Its command line, with a space between arguments.
    pub command: String,
}

impl Holders {
    #[must_use]
    pub(crate) fn read(tree: &Tree) -> Self {
        let tracefs = tree.tracefs().ok();
        let mut holders = Self { incomplete: hidden(tree), ..Self::default() };
        let own = std::process::id();
        for pid in processes(tree) {
            if pid == own {
                // Our own kprobes are told from those of others by the events that they hang on.
                let mut ours = Self::default();
                let _ = ours.read_process(tree, pid, None);
                holders.perf_events.append(&mut ours.perf_events);
                continue;
            }
            match holders.read_process(tree, pid, tracefs.as_deref()) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    holders.incomplete.get_or_insert_with(|| {
                        Reason::with_remedy(
                            "descriptors of other processes are closed to this one",
                            "run as root",
                        )
                    });
                }
                // It has ended.
                Err(_) | Ok(()) => {}
            }
        }
        holders.ask_events(own, link::held);
        holders
    }

    /// Asks what is on each perf event. A program that hangs on an event alone, without a link or a descriptor of its
    /// own, is held by whoever has the event.
    fn ask_events(&mut self, own: u32, ask: impl Fn(u32, u32) -> io::Result<Link>) {
        for &(pid, fd) in &self.perf_events {
            match ask(pid, fd) {
                Ok(link) => {
                    if pid != own {
                        self.programs.entry(link.program).or_default().insert(pid);
                    }
                    self.on_events.push(link);
                }
                // kernel/trace/bpf_trace.c:bpf_get_perf_event_info answers so where no program is on it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.plain_events.insert(pid);
                }
                Err(_) => {}
            }
        }
    }

    fn read_process(&mut self, tree: &Tree, pid: u32, tracefs: Option<&Path>) -> io::Result<()> {
        let place = tree.path(&format!("/proc/{pid}"));
        let mut holds = false;
        for entry in std::fs::read_dir(place.join("fd"))?.flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let name = target.to_string_lossy();
            if name == "anon_inode:[perf_event]" {
                let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
                self.perf_events.extend(fd.map(|fd| (pid, fd)));
                holds = true;
            } else if name.starts_with("anon_inode:bpf") && name != "anon_inode:bpf-map" {
                let info = place.join("fdinfo").join(entry.file_name());
                let Some((list, id)) = bpf_id(&info) else { continue };
                let list = if list == "link_id" { &mut self.links } else { &mut self.programs };
                list.entry(id).or_default().insert(pid);
                holds = true;
            } else if let Some(below) = tracefs.and_then(|tracefs| target.strip_prefix(tracefs).ok()) {
                let mut parts = below.iter().filter_map(|part| part.to_str());
                let instance = match (parts.next(), parts.next()) {
                    (Some("instances"), Some(name)) => Some(name.to_owned()),
                    _ => None,
                };
                self.instances.entry(instance).or_default().insert(pid);
                holds = true;
            }
        }
        if holds {
            self.processes.insert(pid, Process::read(&place));
        }
        Ok(())
    }

    /// The first of `pids`, as an owner.
    #[must_use]
    pub(crate) fn owner(&self, pids: Option<&BTreeSet<u32>>) -> Option<Owner> {
        let pids = pids?;
        let pid = *pids.first()?;
        let Process { comm, cgroup, container, .. } = self.processes.get(&pid)?.clone();
        let others = u32::try_from(pids.len() - 1).unwrap_or(u32::MAX);
        Some(Owner::Process { pid, comm, cgroup, container, others })
    }

    /// Who holds a BPF program at one place: by its link, else by itself.
    #[must_use]
    pub(crate) fn of_program(&self, link: u32, program: u32) -> Option<Owner> {
        let by_link = self.owner(self.links.get(&link).filter(|_| link != 0));
        by_link.or_else(|| self.owner(self.programs.get(&program)))
    }

    /// Who has perf run with this event on its command line, if it is one process.
    #[must_use]
    pub(crate) fn of_perf_event(&self, group: &str, name: &str) -> Option<Owner> {
        let wanted = [format!("{group}:{name}"), format!("{group}:*")];
        let pids: BTreeSet<u32> = self
            .perf_events
            .iter()
            .map(|&(pid, _)| pid)
            .filter(|pid| {
                let command = self.processes.get(pid).map(|process| process.command.as_str());
                command.is_some_and(|command| wanted.iter().any(|event| command.contains(event.as_str())))
            })
            .collect();
        self.owner(Some(&pids))
    }
}

impl Process {
    fn read(place: &Path) -> Self {
        let mut process = Self {
            comm: first_line(&place.join("comm")).unwrap_or_default(),
            command: std::fs::read(place.join("cmdline"))
                .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
                .unwrap_or_default(),
            ..Self::default()
        };
        // `0::/system.slice/foo.service` is the unified tree; older systems have systemd's own.
        let _ = each_line_of(&place.join("cgroup"), |line| {
            let mut parts = line.splitn(3, ':');
            if let (Some(id), Some(controller), Some(path)) = (parts.next(), parts.next(), parts.next())
                && (id == "0" || controller == "name=systemd")
                && process.cgroup.is_none()
            {
                (process.cgroup, process.container) = cgroup(path);
            }
            ControlFlow::Continue(())
        });
        process
    }
}

/// The last part of a cgroup's path with long ids cut, and the id of a container in it.
fn cgroup(path: &str) -> (Option<String>, Option<String>) {
    let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    if last.is_empty() || last == ".." {
        return (None, None);
    }
    let is_id = |word: &&str| word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = last.split(['-', '.', ':']).find(is_id);
    match id {
        Some(id) => {
            let short = &id[..ID_DIGITS];
            (Some(last.replace(id, short)), Some(short.to_owned()))
        }
        None => (Some(last.to_owned()), None),
    }
}

/// `link_id` or `prog_id` of a descriptor, and its number.
pub(crate) fn bpf_id(info: &Path) -> Option<(&'static str, u32)> {
    let mut found = None;
    let _ = each_line_of(info, |line| {
        let field = line.split_once(':').map(|(field, value)| (field, value.trim().parse()));
        match field {
            // A link's comes before that of its program.
            Some(("link_id", Ok(id))) => found = Some(("link_id", id)),
            Some(("prog_id", Ok(id))) if found.is_none() => found = Some(("prog_id", id)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    found
}

/// Why some processes cannot be seen at all.
fn hidden(tree: &Tree) -> Option<Reason> {
    if std::fs::metadata(tree.path("/proc/1")).is_err() {
        return Some(Reason::with_remedy("/proc hides processes (hidepid)", "run as root"));
    }
    let namespace = std::fs::read_link(tree.path("/proc/self/ns/pid")).ok()?;
    (namespace.as_os_str() != FIRST_PID_NAMESPACE).then(|| {
        Reason::with_remedy(
            "processes outside of this PID namespace cannot be seen",
            "run it on the host, or in a container with the host's PID namespace",
        )
    })
}

pub(crate) fn processes(tree: &Tree) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(tree.path("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys::bpf::link::LinkedTo;

    #[test]
    fn a_cgroup_is_told_by_its_last_part_and_a_container_by_its_id() {
        let id = "3f2a1b9c0d1e3f2a1b9c0d1e3f2a1b9c0d1e3f2a1b9c0d1e3f2a1b9c0d1e3f2a";
        let some = |text: &str| Some(text.to_owned());
        for (path, unit, container) in [
            ("/user.slice/user-0.slice/session-3.scope", some("session-3.scope"), None),
            ("/system.slice/foo.service", some("foo.service"), None),
            ("/system.slice/docker-ID.scope", some("docker-3f2a1b9c0d1e.scope"), some("3f2a1b9c0d1e")),
            (
                "/kubepods.slice/cri-containerd-ID.scope",
                some("cri-containerd-3f2a1b9c0d1e.scope"),
                some("3f2a1b9c0d1e"),
            ),
            ("/docker/ID", some("3f2a1b9c0d1e"), some("3f2a1b9c0d1e")),
            ("/", None, None),
        ] {
            assert_eq!(cgroup(&path.replace("ID", id)), (unit, container), "{path}");
        }
    }

    #[test]
    fn whoever_has_a_perf_event_holds_the_program_on_it() {
        let on = LinkedTo::Tracepoint("sched_switch".to_owned());
        let mut holders =
            Holders { perf_events: vec![(1, 3), (4711, 7), (4711, 8), (9, 1)], ..Holders::default() };
        holders.processes.insert(4711, Process { comm: "bpftrace".to_owned(), ..Process::default() });
        holders.ask_events(1, |pid, fd| match (pid, fd) {
            (9, _) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            (4711, 8) => Err(io::Error::from_raw_os_error(libc::EPERM)),
            _ => Ok(Link { id: 0, program: pid + 1, on: on.clone(), missed: None }),
        });
        assert_eq!(
            holders.of_program(0, 4712).map(|owner| owner.to_string()),
            Some("bpftrace[4711]".to_owned())
        );
        assert_eq!(holders.of_program(0, 2), None, "ours needs no owner");
        assert_eq!(holders.on_events.len(), 2);
        assert_eq!(holders.plain_events, BTreeSet::from([9]));
    }

    #[test]
    fn holders_are_found_by_their_descriptors_and_one_that_has_ended_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let tracefs = root.path().join("sys/kernel/tracing");
        create_dir_all(&tracefs).unwrap();
        write(tracefs.join("trace"), "").unwrap();
        let process = root.path().join("proc/4711");
        for folder in ["fd", "fdinfo"] {
            create_dir_all(process.join(folder)).unwrap();
        }
        create_dir_all(root.path().join("proc/1")).unwrap();
        write(process.join("comm"), "bpftrace\n").unwrap();
        write(process.join("cmdline"), "perf\0record\0-e\0probe:open\0").unwrap();
        write(process.join("cgroup"), "0::/user.slice/session-3.scope\n").unwrap();
        // As 6.12 writes them.
        write(
            process.join("fdinfo/5"),
            "pos:\t0\nlink_type:\tperf\nlink_id:\t9\nprog_tag:\tabc\nprog_id:\t17\n",
        )
        .unwrap();
        write(process.join("fdinfo/6"), "pos:\t0\nprog_type:\t2\nprog_id:\t17\n").unwrap();
        symlink("anon_inode:bpf_link", process.join("fd/5")).unwrap();
        symlink("anon_inode:bpf-prog", process.join("fd/6")).unwrap();
        symlink("anon_inode:[perf_event]", process.join("fd/7")).unwrap();
        symlink(tracefs.join("instances/mine/trace_pipe"), process.join("fd/8")).unwrap();
        let holders = Holders::read(&Tree::under(root.path()));
        let told = |owner: Option<Owner>| owner.map(|owner| owner.to_string());
        let him = Some("bpftrace[4711] (session-3.scope)".to_owned());
        assert_eq!(told(holders.of_program(9, 1)), him);
        assert_eq!(told(holders.of_program(0, 17)), him);
        assert_eq!(told(holders.of_program(8, 1)), None);
        assert_eq!(told(holders.owner(holders.instances.get(&Some("mine".to_owned())))), him);
        assert_eq!(told(holders.of_perf_event("probe", "open")), him);
        assert_eq!(told(holders.of_perf_event("probe", "close")), None);
        assert_eq!(holders.perf_events, [(4711, 7)]);
        assert_eq!(holders.incomplete, None);
    }
}
