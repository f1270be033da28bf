//! Probe events of tracefs: who set which kprobe, kretprobe or fprobe up by `kprobe_events` or `dynamic_events`, where
//! it is on, and what it counted.
//!
//! ```text
//! p:probe/arch_cpu_idle _text+3891920          a kprobe, as perf writes it
//! r64:kprobes/open do_sys_openat2 ret=$retval  a kretprobe of at most 64 calls at a time
//! f:fprobes/read vfs_read%return               an fprobe
//! ```
//! Offsets are decimal (kernel/trace/trace_kprobe.c:trace_kprobe_show). An address is hashed, and tells nothing.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rcu_watch_core::probe::Owner;

use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::line::{each_line_of, first_line};
use crate::kernel::read::tracer::instances;

/// A kprobe at the start of a function is moved behind endbr64 (arch/x86/kernel/kprobes/core.c:arch_adjust_kprobe_addr).
const ENDBR_BYTES: u64 = 4;

/// By what mechanism an event gets to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Kprobe,
    Kretprobe,
    Fprobe,
    FprobeReturn,
}

/// One probe of one event; an event may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeEvent {
    pub kind: EventKind,
    pub group: String,
    pub name: String,
    /// Empty where it was set up by address.
    pub symbol: String,
    pub module: Option<String>,
    pub offset: u64,
    /// The instances of tracefs that it is on in; `None` is the top one. perf leaves no trace here.
    pub on_in: Vec<Option<String>>,
    /// Who has it on by perf, where that was asked.
    pub by_perf: Option<Owner>,
    /// Runs and misses, where `kprobe_profile` has them.
    pub counts: Option<(u64, u64)>,
}

impl ProbeEvent {
    /// One line of `kprobe_events` or `dynamic_events`; `None` for events that sit on no function of the kernel.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (kind, event) = words.next()?.split_once(':')?;
        let (group, name) = event.split_once('/')?;
        let place = words.next()?;
        // A place with a slash is a file: a uprobe, which has the letters of kprobes.
        if place.contains('/') {
            return None;
        }
        let (place, returns) = match place.strip_suffix("%return") {
            Some(place) => (place, true),
            None => (place, false),
        };
        let place = place.strip_suffix("%entry").unwrap_or(place);
        let mut letters = kind.chars();
        let kind = match letters.next()? {
            'p' if returns => EventKind::Kretprobe,
            'p' => EventKind::Kprobe,
            // The number is how many calls it can follow at a time.
            'r' => EventKind::Kretprobe,
            'f' if returns => EventKind::FprobeReturn,
            'f' => EventKind::Fprobe,
            _ => return None,
        };
        let is_kind = letters.all(|letter| letter.is_ascii_digit());
        let (symbol, offset) = match place.split_once('+') {
            Some((symbol, offset)) => (symbol, offset.parse().ok()?),
            None => (place, 0),
        };
        let (module, symbol) = match symbol.split_once(':') {
            Some((module, symbol)) => (Some(module.to_owned()), symbol),
            None => (None, symbol),
        };
        let symbol = if symbol.starts_with("0x") { "" } else { symbol };
        is_kind.then(|| Self {
            kind,
            group: group.to_owned(),
            name: name.to_owned(),
            symbol: symbol.to_owned(),
            module,
            offset,
            on_in: Vec::new(),
            by_perf: None,
            counts: None,
        })
    }

    /// `group/event`.
    #[must_use]
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether the kprobe can be its own; `text` is where the kernel's text starts, from which perf counts.
    #[must_use]
    pub(crate) fn is_at(&self, kprobe: &Kprobe, text: Option<u64>) -> bool {
        let kind = if kprobe.is_return { EventKind::Kretprobe } else { EventKind::Kprobe };
        let is_entry = self.offset == 0 && kprobe.is_on_ftrace;
        let is_named = self.symbol == kprobe.function && (self.offset == kprobe.offset || is_entry);
        let at = text.filter(|_| self.is_by_text() && kprobe.address != 0).map(|text| text + self.offset);
        let is_by_address = at.is_some_and(|at| kprobe.address.wrapping_sub(at) <= ENDBR_BYTES);
        self.kind == kind && (is_named || is_by_address)
    }

    /// perf names no function, but how far behind `_text` it is.
    #[must_use]
    pub(crate) fn is_by_text(&self) -> bool {
        self.symbol == "_text"
    }

    #[must_use]
    pub(crate) const fn is_fprobe(&self) -> bool {
        matches!(self.kind, EventKind::Fprobe | EventKind::FprobeReturn)
    }

    /// The first instance that it is on in, else perf's process.
    #[must_use]
    pub(crate) fn owner(&self) -> Option<Owner> {
        let instance = self.on_in.first().map(|instance| Owner::Instance { name: instance.clone() });
        instance.or_else(|| self.by_perf.clone())
    }

    #[must_use]
    pub(crate) const fn is_return(&self) -> bool {
        matches!(self.kind, EventKind::Kretprobe | EventKind::FprobeReturn)
    }
}

/// Probe events on functions of the kernel. A kernel without either file has none.
///
/// # Errors
/// That of the read.
pub(crate) fn read(tracefs: &Path) -> io::Result<Vec<ProbeEvent>> {
    let mut events = Vec::new();
    lines(&tracefs.join("kprobe_events"), |line| events.extend(ProbeEvent::parse(line)))?;
    counts(&tracefs.join("kprobe_profile"), &mut events);
    // kprobe_events lists kprobes alone.
    lines(&tracefs.join("dynamic_events"), |line| {
        events.extend(ProbeEvent::parse(line).filter(ProbeEvent::is_fprobe));
    })?;
    for (instance, place) in instances(tracefs) {
        for event in &mut events {
            let switch = place.join("events").join(&event.group).join(&event.name).join("enable");
            if first_line(&switch).is_ok_and(|on| on.starts_with('1')) {
                event.on_in.push(instance.clone());
            }
        }
    }
    Ok(events)
}

/// Events on user space: lines of `uprobe_events`.
pub(crate) fn uprobes(tracefs: &Path) -> u64 {
    let mut count = 0;
    let _ = lines(&tracefs.join("uprobe_events"), |_| count += 1);
    count
}

fn lines(path: &Path, mut line: impl FnMut(&str)) -> io::Result<()> {
    let read = each_line_of(path, |text| {
        line(text);
        ControlFlow::Continue(())
    });
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        read => read,
    }
}

/// `kprobe_profile` has a line for each line of `kprobe_events`, in the same order, without the group. Where the two
/// do not go together, because an event came or went in between, nothing is said.
fn counts(profile: &Path, events: &mut [ProbeEvent]) {
    let mut all = Vec::new();
    let read = lines(profile, |line| {
        let mut words = line.split_ascii_whitespace();
        if let (Some(name), Some(Ok(hits)), Some(Ok(misses))) =
            (words.next(), words.next().map(str::parse), words.next().map(str::parse))
        {
            all.push((name.to_owned(), (hits, misses)));
        }
    });
    let goes_together =
        all.len() == events.len() && events.iter().zip(&all).all(|(event, (name, _))| event.name == *name);
    if read.is_ok() && goes_together {
        for (event, (_, counts)) in events.iter_mut().zip(all) {
            event.counts = Some(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    /// As 6.12 writes it, after `perf probe`, a write to kprobe_events, and one to dynamic_events.
    const EVENTS: &str = "\
p:probe/arch_cpu_idle _text+3891920
r64:kprobes/open do_sys_openat2 ret=$retval
p:kprobes/entry demo:demo_entry+3
r:kprobes/by_address 0x00000000a6a4f1b2
";
    const DYNAMIC: &str = "\
p:probe/arch_cpu_idle _text+3891920
p:uprobes/main /usr/bin/true:0x0000000000002450
f:fprobes/read vfs_read%return
f:fprobes/write vfs_write
t:tracepoints/switch sched_switch
e:eprobes/openat syscalls.sys_enter_openat file=+0($filename):ustring
s:synthetic/latency u64 lat
";
    const PROFILE: &str = "\
  arch_cpu_idle                                           41203               0
  open                                                      202             122
  entry                                                       0               0
  by_address                                                  7               1
";

    fn tracefs(profile: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("kprobe_events"), EVENTS).unwrap();
        write(root.path().join("dynamic_events"), DYNAMIC).unwrap();
        write(root.path().join("kprobe_profile"), profile).unwrap();
        for place in ["events/kprobes/open", "instances/mine/events/kprobes/open"] {
            create_dir_all(root.path().join(place)).unwrap();
            write(root.path().join(place).join("enable"), "1*\n").unwrap();
        }
        root
    }

    #[test]
    fn events_are_read_with_their_places_counts_and_instances() {
        let root = tracefs(PROFILE);
        let events = read(root.path()).unwrap();
        let places: Vec<_> = events
            .iter()
            .map(|e| (e.label(), e.kind, e.symbol.as_str(), e.offset, e.module.as_deref()))
            .collect();
        assert_eq!(
            places,
            [
                ("probe/arch_cpu_idle".to_owned(), EventKind::Kprobe, "_text", 3_891_920, None),
                ("kprobes/open".to_owned(), EventKind::Kretprobe, "do_sys_openat2", 0, None),
                ("kprobes/entry".to_owned(), EventKind::Kprobe, "demo_entry", 3, Some("demo")),
                ("kprobes/by_address".to_owned(), EventKind::Kretprobe, "", 0, None),
                ("fprobes/read".to_owned(), EventKind::FprobeReturn, "vfs_read", 0, None),
                ("fprobes/write".to_owned(), EventKind::Fprobe, "vfs_write", 0, None),
            ]
        );
        assert_eq!(events[1].counts, Some((202, 122)));
        assert_eq!(events[1].on_in, [None, Some("mine".to_owned())]);
        assert_eq!(events[0].on_in, []);
        assert_eq!(events[4].counts, None);
    }

    #[test]
    fn counts_of_another_moment_are_not_taken() {
        let root = tracefs("  open   202   122\n");
        assert!(read(root.path()).unwrap().iter().all(|event| event.counts.is_none()));
    }

    #[test]
    fn a_kernel_without_probe_events_has_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()).unwrap(), []);
        assert_eq!(uprobes(root.path()), 0);
    }
}
