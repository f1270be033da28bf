use super::*;
use crate::probe::{HandlerKind, Reliance};

const ENTRY: u64 = 0xffff_ffff_8100_1000;

fn handler(kind: HandlerKind, name: &str) -> Handler {
    let ours = name.starts_with("rcuw_");
    Handler {
        kind,
        name: name.to_owned(),
        event: None,
        program: None,
        reliance: Reliance::Relies,
        ours,
        owner: None,
    }
}

fn kprobe(function: &str, offset: u64, by_ftrace: bool) -> Listed {
    Listed {
        function: function.to_owned(),
        handler: handler(HandlerKind::Kprobe, &format!("{function}+{offset:#x}")),
        is_kprobe: true,
        by_ftrace,
        address: Some(Address(ENTRY + offset)),
        off: None,
    }
}

fn traced(function: &str, name: &str) -> Listed {
    Listed {
        handler: handler(HandlerKind::Bpf, name),
        is_kprobe: false,
        address: None,
        ..kprobe(function, 0, true)
    }
}

fn patched(function: &str) -> Patched {
    Patched {
        patch: "fix".to_owned(),
        function: function.to_owned(),
        is_settled: true,
        body: Some(TextRange { start: Address(ENTRY + 5), end: Address(ENTRY + 0x100) }),
        is_hooked: Some(true),
    }
}

/// A fentry program, a kprobe at an entry and one in a body, and a livepatch of another function.
fn healthy() -> Signs {
    Signs {
        handlers: vec![
            traced("vfs_read", "trace_read"),
            kprobe("vfs_open", 4, true),
            kprobe("vfs_write", 9, false),
        ],
        patched: vec![Patched {
            body: Some(TextRange { start: Address(ENTRY + 0x1005), end: Address(ENTRY + 0x1100) }),
            ..patched("cmdline_proc_show")
        }],
        sites: vec![Site {
            function: "vfs_read".to_owned(),
            entry: Address(ENTRY),
            records: vec![Address(ENTRY + 4)],
            handlers: vec![handler(HandlerKind::Bpf, "trace_read")],
        }],
        ..Signs::default()
    }
}

fn summary(dead: &Dead) -> Vec<(Severity, &str, &str)> {
    assert!(dead.conditions.iter().all(|c| c.handlers.iter().all(|h| !h.ours)), "{dead:?}");
    dead.conditions
        .iter()
        .map(|c| (c.severity, c.function.as_str(), c.help.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(dead(&healthy()), Dead::default());
}

#[test]
fn with_ftrace_off_what_it_carries_is_dead_and_a_kprobe_by_int3_is_not() {
    let found = dead(&Signs { ftrace: Ftrace::Off, ..healthy() });
    let help = "sysctl kernel.ftrace_enabled=1";
    assert_eq!(summary(&found), [(Severity::Error, "vfs_open", help), (Severity::Error, "vfs_read", help)]);
    assert_eq!(found.unmet, Vec::<String>::new());
}

#[test]
fn where_ftrace_shut_itself_down_nobody_knows_what_still_runs() {
    let found = dead(&Signs { ftrace: Ftrace::ShutDown, ..healthy() });
    assert!(found.conditions.iter().all(|condition| condition.severity == Severity::Warning));
    assert_eq!(found.conditions.len(), 2);
}

#[test]
fn with_kprobes_off_each_kprobe_is_dead_and_a_trampoline_is_not() {
    let found = dead(&Signs { kprobes_are_off: true, ..healthy() });
    let help = "echo 1 > /sys/kernel/debug/kprobes/enabled";
    assert_eq!(summary(&found), [(Severity::Error, "vfs_open", help), (Severity::Error, "vfs_write", help)]);
}

#[test]
fn what_its_owner_switched_off_or_went_with_its_module_is_only_worth_knowing() {
    for off in [Off::Disabled, Off::Gone, Off::Instance(Some("perf".to_owned()))] {
        let mut signs = healthy();
        signs.handlers[1].off = Some(off.clone());
        let found = dead(&signs);
        assert_eq!(found.conditions.len(), 1);
        assert_eq!(
            (found.conditions[0].severity, &*found.conditions[0].function),
            (Severity::Info, "vfs_open")
        );
        // Switched off as it is, the switch of all kprobes changes nothing for it; of an instance it does.
        signs.kprobes_are_off = true;
        let is_error = |c: &Condition| c.function == "vfs_open" && c.severity == Severity::Error;
        assert_eq!(dead(&signs).conditions.iter().any(is_error), matches!(off, Off::Instance(_)));
    }
}

#[test]
fn a_kprobe_in_a_body_that_was_replaced_is_dead_and_one_at_its_entry_is_not() {
    let with = |listed: Listed, patched: Patched| {
        dead(&Signs { handlers: vec![listed], patched: vec![patched], ..Signs::default() })
    };
    let found = with(kprobe("vfs_open", 9, false), patched("vfs_open"));
    assert_eq!(summary(&found).len(), 1);
    assert_eq!(found.conditions[0].severity, Severity::Error);
    assert!(found.conditions[0].because.contains("livepatch fix replaced the body"));
    assert_eq!(found.conditions[0].handlers[0].name, "vfs_open+0x9");
    let mut ours = kprobe("vfs_open", 9, false);
    ours.handler.ours = true;
    assert_eq!(with(ours, patched("vfs_open")), Dead::default());
    // It shares the site with the livepatch, whichever is called first.
    assert_eq!(with(kprobe("vfs_open", 4, true), patched("vfs_open")), Dead::default());
    // Before the ftrace site, another function, tasks that are still in the old body, a function of unknown place.
    let start = Listed { by_ftrace: false, ..kprobe("vfs_open", 0, false) };
    assert_eq!(with(start, patched("vfs_open")), Dead::default());
    assert_eq!(with(kprobe("other", 0x100, false), patched("vfs_open")), Dead::default());
    let moving = Patched { is_settled: false, ..patched("vfs_open") };
    assert_eq!(with(kprobe("vfs_open", 9, false), moving), Dead::default());
    let unknown = Patched { body: None, ..patched("vfs_open") };
    assert_eq!(with(kprobe("vfs_open", 9, false), unknown), Dead::default());
}

#[test]
fn a_site_that_is_not_the_entry_is_dead_with_and_without_endbr() {
    let with = |records: &[u64]| {
        let mut signs = healthy();
        signs.sites[0].records = records.iter().map(|&offset| Address(ENTRY.wrapping_add(offset))).collect();
        dead(&signs)
    };
    for fine in [&[0][..], &[4], &[8], &[4, 0x80], &[]] {
        assert_eq!(with(fine), Dead::default(), "{fine:?}");
    }
    for (elsewhere, distance) in [(0x80, "0x80"), (0_u64.wrapping_sub(0x40), "0x40")] {
        let found = with(&[elsewhere]);
        assert_eq!(summary(&found)[0].0, Severity::Error);
        assert!(found.conditions[0].because.contains(distance), "{found:?}");
    }
}

#[test]
fn an_enabled_livepatch_without_a_handler_is_dead_unless_the_lists_cannot_tell() {
    let with = |is_hooked, ftrace| {
        let patched = vec![Patched { is_hooked, ..patched("vfs_open") }];
        dead(&Signs { patched, ftrace, ..Signs::default() })
    };
    let found = with(Some(false), Ftrace::On);
    assert_eq!(summary(&found)[0].1, "vfs_open");
    assert!(found.conditions[0].because.contains("livepatch fix is enabled"));
    assert_eq!(with(None, Ftrace::On), Dead::default());
    // With ftrace off its list is empty, whoever is there.
    assert_eq!(with(Some(false), Ftrace::Off), Dead::default());
}

#[test]
fn what_is_dead_of_ours_is_no_finding_and_makes_the_run_inconclusive() {
    let handlers = vec![traced("vfs_read", "rcuw_fentry_00"), traced("vfs_open", "rcuw_fentry_01")];
    let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
    assert_eq!(found.conditions, []);
    assert_eq!(
        found.unmet,
        [
            "probes of rcu-watch itself cannot run: kernel.ftrace_enabled is 0: ftrace calls none of its handlers; \
          sysctl kernel.ftrace_enabled=1"
        ]
    );
    // Somebody's on the same function is a finding all the same.
    let handlers = vec![traced("vfs_read", "rcuw_fentry_00"), traced("vfs_read", "trace_read")];
    let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
    assert_eq!((summary(&found).len(), found.unmet.len()), (1, 1));
    let mut disabled = traced("vfs_read", "rcuw_kprobe_00");
    disabled.off = Some(Off::Disabled);
    assert_eq!(dead(&Signs { handlers: vec![disabled], ..Signs::default() }), Dead::default());
}

#[test]
fn what_only_one_of_two_looks_saw_is_in_flux() {
    let off = dead(&Signs { ftrace: Ftrace::Off, ..healthy() });
    assert_eq!(off.clone().agrees_with(&off), off);
    assert_eq!(off.clone().agrees_with(&dead(&healthy())), Dead::default());
    assert_eq!(dead(&healthy()).agrees_with(&off), Dead::default());
    // The same function, and another reason.
    let kprobes = dead(&Signs { kprobes_are_off: true, ..healthy() });
    assert_eq!(kprobes.agrees_with(&off), Dead::default());
}

#[test]
fn many_that_are_dead_for_one_reason_are_counted_behind_the_first() {
    let handlers = (0..100).map(|number| traced(&format!("f{number:02}"), "trace")).collect();
    let found = dead(&Signs { handlers, ftrace: Ftrace::Off, ..Signs::default() });
    assert_eq!(found.conditions.len(), FUNCTIONS_MAX + 1);
    assert_eq!(found.conditions[FUNCTIONS_MAX].function, "68 more functions");
}
