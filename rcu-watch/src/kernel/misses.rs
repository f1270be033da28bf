//! Counters of skipped runs, of everybody's handlers: BPF programs and their links, and kprobe events of tracefs.
//!
//! Three system calls a program and two or three a link: some 2 ms where 500 programs are loaded. Where a counter's
//! handler sits is asked only when the counter has moved, because that takes all of the kernel's links.

use std::collections::BTreeMap;

use rcu_watch_core::condition::Condition;
use rcu_watch_core::condition::missed::{Counted, Counter, missed};
use rcu_watch_core::probe::{Handler, HandlerKind, Reliance};

use crate::kernel::facts::ask::Ask;
use crate::kernel::read::event::{self, ProbeEvent};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::program::{OUR_PREFIX, ProgramSites};
use crate::kernel::read::support::Reason;
use crate::sys::bpf::missed::{Misses, of_kprobe_links, of_programs};

/// What was read, and what this kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) counters: Vec<Counter>,
    /// Handlers of others that the kernel keeps no counter of, or whose counters this process cannot read.
    pub(crate) untold: Vec<Reason>,
}

impl Counters {
    /// Of the running kernel. `before` is what an earlier look read: it stands in where a list changed while it
    /// was read.
    #[must_use]
    pub(crate) fn read(tree: &Tree, before: Option<&Self>) -> Self {
        let mut read = Self::default();
        match of_programs().and_then(|programs| Ok((programs, of_kprobe_links()?))) {
            Ok((programs, links)) => read.add_programs(&programs, &links),
            Err(error) => read.untold.push(Reason::with_remedy(
                format!("BPF programs of others cannot be listed: {error}"),
                "run as root",
            )),
        }
        if let Ok(tracefs) = tree.tracefs() {
            match event::read(&tracefs) {
                Ok(events) => read.add_events(&events, before),
                Err(error) => read.untold.push(Reason::unreadable(&tracefs.join("kprobe_events"), &error)),
            }
        }
        read
    }

    fn add_programs(&mut self, programs: &[Misses], links: &[Misses]) {
        let names: BTreeMap<u32, &str> =
            programs.iter().map(|program| (program.id, program.name.as_str())).collect();
        let name = |program: u32| names.get(&program).copied().unwrap_or_default();
        let is_foreign = |misses: &&Misses| !name(misses.program).starts_with(OUR_PREFIX);
        let all = [
            (
                programs,
                Counted::Recursion,
                "program",
                "the runs of BPF programs that its recursion guard skips",
            ),
            (links, Counted::Link, "link", "the hits that it skips of kprobes with BPF programs"),
        ];
        for (list, counted, what, uncounted) in all {
            for misses in list.iter().filter(is_foreign) {
                let Some(missed) = misses.missed else {
                    self.tell(Reason::new(format!("this kernel does not count {uncounted}")));
                    continue;
                };
                let name = name(misses.program);
                self.counters.push(Counter {
                    id: format!("{what} {}", misses.id),
                    counted,
                    function: name.to_owned(),
                    handler: Handler {
                        kind: HandlerKind::Bpf,
                        name: name.to_owned(),
                        event: None,
                        program: Some(misses.program),
                        reliance: Reliance::Relies,
                        ours: false,
                        owner: None,
                    },
                    missed,
                });
            }
        }
    }

    fn add_events(&mut self, events: &[ProbeEvent], before: Option<&Self>) {
        for event in events.iter().filter(|event| !event.is_fprobe()) {
            let id = format!("event {}", event.label());
            let earlier = before.and_then(|before| before.counters.iter().find(|counter| counter.id == id));
            // Where the counters could not be told apart, because an event came or went, they stand as before.
            let missed = event.counts.map(|(_, missed)| missed).or_else(|| Some(earlier?.missed));
            let Some(missed) = missed else { continue };
            // perf names no function, but where in the kernel's text it is.
            let is_named = !event.symbol.is_empty() && !event.is_by_text();
            self.counters.push(Counter {
                id,
                counted: if event.is_return() { Counted::KretprobeEvent } else { Counted::KprobeEvent },
                function: if is_named { event.symbol.clone() } else { event.label() },
                handler: Handler {
                    kind: HandlerKind::Kprobe,
                    name: event.label(),
                    event: None,
                    program: None,
                    reliance: Reliance::Relies,
                    ours: false,
                    owner: event.owner(),
                },
                missed,
            });
        }
    }

    fn tell(&mut self, reason: Reason) {
        if !self.untold.contains(&reason) {
            self.untold.push(reason);
        }
    }

    /// What was missed since `before` was read, each with the function that its handler is on.
    #[must_use]
    pub(crate) fn since(&mut self, before: &Self, tree: &Tree, kernel: &impl Ask) -> Vec<Condition> {
        let found = missed(&before.counters, &self.counters);
        if found.iter().all(|condition| condition.handlers.iter().all(|handler| handler.program.is_none())) {
            return found;
        }
        if let Ok(programs) = kernel.programs(tree) {
            self.place(&programs);
        }
        missed(&before.counters, &self.counters)
    }

    /// Names who holds each program, and the function of one that is on one only.
    fn place(&mut self, programs: &ProgramSites) {
        for counter in &mut self.counters {
            let Some(program) = counter.handler.program else { continue };
            let on_function = programs.on_function.iter();
            let trampolines = on_function
                .flat_map(|(function, all)| all.iter().map(move |named| (function.as_str(), named)));
            let kprobes = programs.on_kprobe.iter().map(|on| (on.function.as_str(), &on.program));
            let fprobes = programs.on_fprobe.iter();
            let fprobes =
                fprobes.flat_map(|(function, all)| all.iter().map(move |named| (function.as_str(), named)));
            let all = trampolines.chain(kprobes).chain(fprobes);
            let places: Vec<_> = all.filter(|(_, named)| named.id == program).collect();
            if let [(function, _)] = places[..]
                && !function.is_empty()
            {
                function.clone_into(&mut counter.function);
            }
            counter.handler.owner = places.first().and_then(|(_, named)| named.owner.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::Owner;

    use super::*;
    use crate::kernel::read::event::EventKind;
    use crate::kernel::read::program::{KprobeProgram, NamedProgram};

    fn program(id: u32, name: &str, missed: Option<u64>) -> Misses {
        Misses { id, program: id, name: name.to_owned(), missed }
    }

    fn ids(counters: &Counters) -> Vec<&str> {
        counters.counters.iter().map(|counter| counter.id.as_str()).collect()
    }

    #[test]
    fn programs_and_links_of_others_have_counters_and_ours_have_none() {
        let programs = [program(3, "trace_read", Some(5)), program(4, "rcuw_nmi", Some(9))];
        let links = [
            Misses { id: 8, program: 3, name: String::new(), missed: Some(2) },
            Misses { id: 9, program: 4, name: String::new(), missed: Some(2) },
        ];
        let mut read = Counters::default();
        read.add_programs(&programs, &links);
        assert_eq!(ids(&read), ["program 3", "link 8"]);
        assert_eq!(read.counters[1].handler.name, "trace_read");
        assert_eq!(read.untold, []);
    }

    #[test]
    fn what_the_kernel_does_not_count_is_said_once_and_only_of_others() {
        let mut read = Counters::default();
        read.add_programs(&[program(4, "rcuw_nmi", None)], &[]);
        assert_eq!(read, Counters::default());
        read.add_programs(&[program(3, "trace", None), program(5, "other", None)], &[]);
        assert_eq!(read.counters, []);
        assert_eq!(
            read.untold[0].to_string(),
            "this kernel does not count the runs of BPF programs that its recursion guard skips"
        );
        assert_eq!(read.untold.len(), 1);
    }

    #[test]
    fn a_program_on_one_function_is_named_with_it_and_each_with_whose_it_is() {
        let mut read = Counters::default();
        read.add_programs(&[program(3, "trace_read", Some(1)), program(5, "trace_all", Some(1))], &[]);
        let mine = Owner::Pinned { path: None };
        let named = |id, name: &str| NamedProgram { id, name: name.to_owned(), owner: Some(mine.clone()) };
        let mut programs = ProgramSites::default();
        programs.on_function.insert("vfs_read".to_owned(), vec![named(3, "trace_read")]);
        programs.on_kprobe.extend(["vfs_open", "vfs_write"].map(|function| KprobeProgram {
            program: named(5, "trace_all"),
            function: function.to_owned(),
            offset: 0,
            address: 0,
        }));
        read.place(&programs);
        let functions: Vec<_> = read.counters.iter().map(|counter| counter.function.as_str()).collect();
        assert_eq!(functions, ["vfs_read", "trace_all"]);
        assert!(read.counters.iter().all(|counter| counter.handler.owner.as_ref() == Some(&mine)));
    }

    fn kretprobe(counts: Option<(u64, u64)>) -> ProbeEvent {
        ProbeEvent {
            kind: EventKind::Kretprobe,
            group: "lab".to_owned(),
            name: "ret".to_owned(),
            symbol: "vfs_read".to_owned(),
            module: None,
            offset: 0,
            on_in: vec![Some("mine".to_owned())],
            by_perf: None,
            counts,
        }
    }

    fn read(event: ProbeEvent, before: Option<&Counters>) -> Counters {
        let mut read = Counters::default();
        read.add_events(&[event], before);
        read
    }

    #[test]
    fn an_event_has_its_name_its_function_and_its_instance() {
        let read = read(kretprobe(Some((122, 202))), None);
        let [Counter { id, counted, function, handler, missed }] = &read.counters[..] else {
            panic!("{read:?}")
        };
        assert_eq!(
            (id.as_str(), *counted, function.as_str()),
            ("event lab/ret", Counted::KretprobeEvent, "vfs_read")
        );
        assert_eq!((handler.name.as_str(), *missed), ("lab/ret", 202));
        assert_eq!(handler.owner.as_ref().unwrap().to_string(), "tracefs instance mine");
    }

    #[test]
    fn events_whose_counters_could_not_be_told_apart_stand_as_before() {
        let before = read(kretprobe(Some((122, 202))), None);
        let now = read(kretprobe(None), Some(&before));
        assert_eq!(now, before);
        assert_eq!(missed(&before.counters, &now.counters), []);
        assert_eq!(read(kretprobe(None), None).counters, []);
    }
}
