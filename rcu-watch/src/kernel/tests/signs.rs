//! What a look at dead handlers reads of captured lists, and what the core says of it.

use std::collections::BTreeMap;

use rcu_watch_core::Severity;
use rcu_watch_core::condition::dead::{Dead, Ftrace, Off, Signs, dead};
use rcu_watch_core::units::Address;

use super::{Captured, Seen, tracer};
use crate::kernel::read::event::{EventKind, ProbeEvent};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::program::{KprobeProgram, NamedProgram, ProgramSites};
use crate::kernel::read::switch::Switches;
use crate::kernel::read::symbol::FoundSymbols;
use crate::kernel::read::tracer::{SetUpBy, Tracer};
use crate::kernel::signs::{Lists, fingerprint, of};

/// 6.1, without endbr64; `alias_idle` is another name of the function that is patched.
const KALLSYMS: &str = "\
ffffffff96830000 T _text
ffffffff968356d0 T arch_cpu_idle
ffffffff968356d0 T alias_idle
ffffffff96835700 T default_idle
ffffffff96870000 t show
ffffffff96880000 t show
ffffffff96890000 T last
";
const KLP: &str = "arch_cpu_idle (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n";
const OFF: Switches = Switches { ftrace: Some(false), kprobes: Some(false), ftrace_is_dead: false };

fn lists(records: &[(&str, u64)]) -> Lists {
    let mut found: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    for (name, address) in records {
        found.entry((*name).to_owned()).or_default().push(Address(*address));
    }
    Lists {
        symbols: FoundSymbols::read(KALLSYMS.as_bytes(), |_| true).unwrap(),
        records: found,
        ..Lists::default()
    }
}

fn signs(seen: Seen<'_>) -> Signs {
    of(&seen.sightings(), &lists(&[]))
}

fn errors(dead: &Dead) -> Vec<(&str, &str)> {
    let errors = dead.conditions.iter().filter(|condition| condition.severity == Severity::Error);
    errors.map(|condition| (condition.function.as_str(), condition.handlers[0].name.as_str())).collect()
}

#[test]
fn kprobes_are_listed_with_their_owner_and_what_their_owner_did() {
    let programs = ProgramSites {
        on_kprobe: vec![KprobeProgram {
            program: NamedProgram { id: 7, name: "trace_idle".to_owned(), owner: None },
            function: "arch_cpu_idle".to_owned(),
            offset: 0,
            address: 0,
        }],
        ..ProgramSites::default()
    };
    let signs = signs(Seen {
        kprobes: "\
ffffffff968356d0  k  arch_cpu_idle+0x0    [FTRACE]
ffffffff96835709  k  default_idle+0x9    [DISABLED]
ffffffffc02a4000  k  demo_entry+0x0  demo [GONE]
",
        programs,
        switches: Switches { kprobes: Some(true), ftrace: Some(true), ..Switches::default() },
        ..Seen::default()
    });
    let listed: Vec<_> = signs
        .handlers
        .iter()
        .map(|listed| (listed.handler.name.as_str(), listed.by_ftrace, listed.off.clone()))
        .collect();
    assert_eq!(
        listed,
        [
            ("trace_idle", true, None),
            ("default_idle+0x9", false, Some(Off::Disabled)),
            ("demo_entry+0x0", false, Some(Off::Gone)),
        ]
    );
    assert_eq!((signs.ftrace, signs.kprobes_are_off), (Ftrace::On, false));
    assert!(dead(&signs).conditions.iter().all(|condition| condition.severity == Severity::Info));
}

#[test]
fn handlers_that_are_switched_off_are_listed_all_the_same() {
    let mut programs = ProgramSites::default();
    programs.on_function.insert(
        "default_idle".to_owned(),
        vec![
            NamedProgram { id: 3, name: "trace_idle".to_owned(), owner: None },
            NamedProgram { id: 4, name: "rcuw_fentry_00".to_owned(), owner: None },
        ],
    );
    programs
        .on_fprobe
        .insert("last".to_owned(), vec![NamedProgram { id: 5, name: "trace_many".to_owned(), owner: None }]);
    let signs = signs(Seen {
        kprobes: "ffffffff968356d5  k  arch_cpu_idle+0x5    [OPTIMIZED]\n",
        programs,
        tracers: vec![tracer("function_trace_call")],
        switches: OFF,
        ..Seen::default()
    });
    let found = dead(&signs);
    assert_eq!(
        errors(&found),
        [
            ("arch_cpu_idle", "function_trace_call"),
            ("default_idle", "trace_idle"),
            ("last", "trace_many"),
            ("arch_cpu_idle", "arch_cpu_idle+0x5"),
        ]
    );
    assert_eq!(found.unmet.len(), 1);
    assert!(found.unmet[0].contains("sysctl kernel.ftrace_enabled=1"));
}

#[test]
fn a_kprobe_behind_the_site_of_a_patched_function_is_dead_and_one_on_it_is_not() {
    let with = |kprobes| {
        let seen = Seen { livepatched: &["arch_cpu_idle"], enabled: KLP, kprobes, ..Seen::default() };
        let found = dead(&signs(seen));
        found.conditions.iter().map(|c| c.because.clone()).collect::<Vec<_>>()
    };
    let found = with("ffffffff968356d5  k  arch_cpu_idle+0x5    \n");
    assert!(found[0].contains("livepatch lab_livepatch_idle replaced the body"), "{found:?}");
    assert_eq!(with("ffffffff968356d0  k  arch_cpu_idle+0x0    [FTRACE]\n"), Vec::<String>::new());
    // Behind its end the next function starts.
    assert_eq!(with("ffffffff96835705  k  default_idle+0x5    \n"), Vec::<String>::new());
}

#[test]
fn a_livepatch_is_hooked_by_any_name_of_its_function_and_dead_without() {
    let with = |livepatched: &[&str], enabled| {
        let found = dead(&signs(Seen { livepatched, enabled, ..Seen::default() }));
        found.conditions.iter().map(|c| c.because.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with(&["arch_cpu_idle"], KLP), Vec::<String>::new());
    assert_eq!(with(&["alias_idle"], KLP), Vec::<String>::new());
    let found = with(&["arch_cpu_idle"], "");
    assert!(found[0].contains("lab_livepatch_idle is enabled, and ftrace has no handler here"), "{found:?}");
    // Nothing tells where it is.
    assert_eq!(with(&["in_no_list"], ""), Vec::<String>::new());
}

#[test]
fn a_record_that_a_weak_function_left_behind_is_not_the_entry() {
    let with = |function: &str, records: &[(&str, u64)]| {
        let enabled = format!("{function} (1)       ->demo_callback+0x0/0x180\n");
        let sightings = Seen { enabled: &enabled, ..Seen::default() }.sightings();
        dead(&of(&sightings, &lists(records))).conditions.len()
    };
    assert_eq!(with("default_idle", &[("default_idle", 0xffff_ffff_9683_5700)]), 0);
    assert_eq!(with("default_idle", &[("default_idle", 0xffff_ffff_9683_5704)]), 0);
    assert_eq!(with("default_idle", &[("default_idle", 0xffff_ffff_9683_5780)]), 1);
    assert_eq!(with("default_idle", &[]), 0);
    // Two functions have this name, and nothing tells which is meant.
    assert_eq!(with("show", &[("show", 0xffff_ffff_9687_0080)]), 0);
}

#[test]
fn an_event_and_a_tracer_whose_instance_is_off_are_only_worth_knowing() {
    let mine = Some("mine".to_owned());
    let event = |name: &str, symbol: &str, offset, on_in: &[Option<String>]| ProbeEvent {
        kind: EventKind::Kprobe,
        group: "lab".to_owned(),
        name: name.to_owned(),
        symbol: symbol.to_owned(),
        module: None,
        offset,
        on_in: on_in.to_vec(),
        by_perf: None,
        counts: None,
    };
    let lists = Lists {
        events: vec![
            event("silent", "default_idle", 0, std::slice::from_ref(&mine)),
            event("heard", "last", 0, &[mine.clone(), None]),
            // As perf writes it: from the start of the kernel's text.
            event("by_perf", "_text", 0x5700 + 9, &[None]),
        ],
        silent: [mine.clone()].into(),
        ..lists(&[])
    };
    let seen = Seen {
        kprobes: "\
ffffffff96835704  k  default_idle+0x4    [FTRACE]
ffffffff96890000  k  last+0x0    [FTRACE]
ffffffff96835709  k  default_idle+0x9    [OPTIMIZED]
",
        tracers: vec![Tracer {
            callback: "function_trace_call",
            functions: None,
            set_up_by: SetUpBy::Instance(mine),
            records: false,
        }],
        ..Seen::default()
    };
    let signs = of(&seen.sightings(), &lists);
    let names: Vec<_> = signs.handlers.iter().map(|listed| listed.handler.name.as_str()).collect();
    assert_eq!(names, ["lab/silent", "lab/heard", "lab/by_perf", "function_trace_call"]);
    let found = dead(&signs);
    let found: Vec<_> = found.conditions.iter().map(|c| (c.severity, c.function.as_str())).collect();
    assert_eq!(found, [(Severity::Info, "default_idle"), (Severity::Info, "every function")]);
}

#[test]
fn each_switch_and_list_shows_in_the_fingerprint() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::under(root.path());
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for file in ["enabled", "transition", "vmlinux/default_idle,1/x"] {
        write(&format!("sys/kernel/livepatch/fix/{file}"), "0\n");
    }
    let mut last = fingerprint(&tree, &Captured::default());
    for (path, text) in [
        ("sys/kernel/debug/kprobes/enabled", "1\n"),
        ("sys/kernel/debug/kprobes/enabled", "0\n"),
        ("proc/sys/kernel/ftrace_enabled", "1\n"),
        ("proc/sys/kernel/ftrace_enabled", "0\n"),
        ("sys/kernel/debug/kprobes/list", "ffffffff968356d5  k  arch_cpu_idle+0x5    \n"),
        ("sys/kernel/livepatch/fix/enabled", "1\n"),
        ("sys/kernel/livepatch/fix/transition", "1\n"),
        ("proc/modules", "demo 16384 0 - Live 0x0\n"),
    ] {
        write(path, text);
        let now = fingerprint(&tree, &Captured::default());
        assert_ne!(now, last, "{text}");
        last = now;
    }
    write("proc/modules", "demo 16384 1 - Live 0x0\n");
    assert_eq!(fingerprint(&tree, &Captured::default()), last);
}
