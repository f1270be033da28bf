//! Whose the kprobes are that no list tells the owner of: by the functions that they call, out of the kernel's table.

use std::collections::HashMap;

use rcu_watch_core::probe::Owner;
use rcu_watch_core::report::HandlerReport;

use super::place::Functions;
use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::kprobe_table::Registered;

/// kernel/trace/trace_kprobe.c: what the kprobes of probe events and of perf call, those with BPF programs among them.
const OF_EVENTS: &[&str] = &["kprobe_dispatcher", "kretprobe_dispatcher"];

/// The kprobes of the table by their places, each to be taken once.
pub(super) struct Table<'a> {
    by_place: HashMap<(u64, bool), Vec<&'a Registered>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(registered: &'a [Registered], functions: &Functions<'_>) -> Self {
        let mut by_place: HashMap<_, Vec<&Registered>> = HashMap::new();
        for kprobe in registered {
            by_place.entry((kprobe.address, kprobe.is_return)).or_default().push(kprobe);
        }
        // Taken from the end: those of events and programs are mostly told by these.
        for kprobes in by_place.values_mut() {
            kprobes.sort_by_key(|kprobe| !is_of_events(kprobe, functions));
        }
        Self { by_place }
    }

    /// Says of the kprobe of a line what the table has at its place.
    pub(super) fn tell(&mut self, line: &Kprobe, functions: &Functions<'_>, handler: &mut HandlerReport) {
        let place = (line.address, line.is_return);
        let Some(kprobe) = self.by_place.get_mut(&place).and_then(Vec::pop) else { return };
        handler.misses = Some(kprobe.missed);
        let mut called = kprobe.handlers.iter().filter_map(|&at| functions.at(at));
        let Some((function, _)) = called.next() else { return };
        let calls = match function.module {
            Some(module) => {
                handler.owner = Some(Owner::Module { name: module.to_owned() });
                format!("calls {} [{module}]", function.name)
            }
            None if OF_EVENTS.contains(&function.name) => "of perf or of a BPF program".to_owned(),
            None => format!("calls {}", function.name),
        };
        handler.because.get_or_insert(calls);
    }
}

fn is_of_events(kprobe: &Registered, functions: &Functions<'_>) -> bool {
    let called = kprobe.handlers.iter().filter_map(|&at| functions.at(at));
    called.into_iter().any(|(function, _)| OF_EVENTS.contains(&function.name))
}
