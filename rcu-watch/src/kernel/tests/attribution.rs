//! Handlers get their names, and what nobody names is not lost. The lines are those of 5.10 and 6.1.

use rcu_watch_core::probe::{HandlerKind, Owner, Reliance};

use super::{Seen, tracer};
use crate::kernel::facts::attribution::{Handled, Site, UNNAMED, merge};
use crate::kernel::read::event::{EventKind, ProbeEvent};
use crate::kernel::read::program::{KprobeProgram, NamedProgram, ProgramSites};
use crate::kernel::read::switch::Switches;

fn summary(site: &Site) -> Vec<(HandlerKind, &str, Reliance)> {
    site.handlers.iter().map(|h| (h.kind, h.name.as_str(), h.reliance)).collect()
}

fn program(id: u32, name: &str) -> NamedProgram {
    NamedProgram { id, name: name.to_owned(), owner: None }
}

fn site<'a>(handled: &'a Handled, function: &str) -> &'a Site {
    handled.site(function).unwrap()
}

#[test]
fn a_livepatch_alone_is_one_handler_by_its_own_name() {
    for enabled in [
        "arch_cpu_idle (1) R I  \ttramp: 0xffffffffc0370000 (klp_ftrace_handler+0x0/0xa0) ->ftrace_ops_assist_func+0x0/0x110\n",
        "arch_cpu_idle (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n",
    ] {
        let handled = Seen { livepatched: &["arch_cpu_idle"], enabled, ..Seen::default() }.handled();
        let site = site(&handled, "arch_cpu_idle");
        assert_eq!(summary(site), [(HandlerKind::Livepatch, "lab_livepatch_idle", Reliance::Relies)]);
        assert!(site.is_livepatched());
    }
}

#[test]
fn four_handlers_behind_the_list_function_are_all_named() {
    let handled = Seen {
        livepatched: &["arch_cpu_idle"],
        enabled: "arch_cpu_idle (4) R I   ->arch_ftrace_ops_list_func+0x0/0x1d0\n",
        kprobes: "ffffffffb883fbf5  k  arch_cpu_idle+0x5    \nffffffffb883fbf0  k  arch_cpu_idle+0x0    [FTRACE]\n",
        tracers: vec![tracer("function_trace_call"), tracer("stack_trace_call")],
        ..Seen::default()
    }
    .handled();
    assert_eq!(
        summary(site(&handled, "arch_cpu_idle")),
        [
            (HandlerKind::Livepatch, "lab_livepatch_idle", Reliance::Relies),
            (HandlerKind::Kprobe, "arch_cpu_idle+0x5", Reliance::EntryCounted),
            (HandlerKind::Kprobe, "arch_cpu_idle+0x0", Reliance::Relies),
            (HandlerKind::FtraceOps, "function_trace_call", Reliance::DoesNotRely),
            (HandlerKind::FtraceOps, "stack_trace_call", Reliance::GuardsItself),
        ]
    );
}

#[test]
fn a_handler_that_is_counted_and_not_named_is_one_that_relies() {
    let handled = Seen {
        livepatched: &["arch_cpu_idle"],
        enabled: "arch_cpu_idle (2) R I   ->ftrace_ops_list_func+0x0/0x180\n",
        ..Seen::default()
    }
    .handled();
    assert_eq!(
        summary(site(&handled, "arch_cpu_idle"))[1],
        (HandlerKind::FtraceOps, UNNAMED, Reliance::Relies)
    );
}

#[test]
fn a_tracer_that_is_on_elsewhere_explains_nothing_here() {
    let handled = Seen {
        enabled: "default_idle (2)       ->ftrace_ops_list_func+0x0/0x180\n",
        tracers: vec![tracer("function_trace_call")],
        ..Seen::default()
    }
    .handled();
    assert_eq!(
        summary(site(&handled, "default_idle")),
        [(HandlerKind::FtraceOps, UNNAMED, Reliance::Relies)]
    );
}

#[test]
fn where_ftrace_asks_rcu_it_skips_the_kprobes_on_its_sites_and_no_other() {
    let seen = Seen {
        kprobes: "\
ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8551c784  k  loadavg_proc_show+0x4    [FTRACE]
ffffffff8551dbee  k  uptime_proc_show+0xe
",
        ..Seen::default()
    };
    let handled = merge(&seen.sightings().with_validation(true));
    let reliance = |function| site(&handled, function).handlers[0].reliance;
    assert_eq!(reliance("version_proc_show"), Reliance::Relies);
    assert_eq!(reliance("loadavg_proc_show"), Reliance::SkippedByKernel);
    assert_eq!(reliance("uptime_proc_show"), Reliance::EntryCounted);
}

#[test]
fn an_optimised_kprobe_relies_and_a_disabled_one_is_no_handler() {
    let handled = Seen {
        kprobes: "\
ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8551c784  k  loadavg_proc_show+0x4    [DISABLED][FTRACE]
",
        ..Seen::default()
    }
    .handled();
    assert_eq!(
        summary(site(&handled, "version_proc_show")),
        [(HandlerKind::Kprobe, "version_proc_show+0x9", Reliance::Relies)]
    );
    assert!(handled.site("loadavg_proc_show").is_none());
}

#[test]
fn programs_on_kprobes_are_named_and_ours_are_not_somebody_elses() {
    let on_kprobe = [(7, "trace_idle"), (9, "rcuw_kprobe_00")].map(|(id, name)| KprobeProgram {
        program: program(id, name),
        function: "arch_cpu_idle".to_owned(),
        offset: 0,
        // 5.10 tells the symbol or the address, never both.
        address: 0,
    });
    let handled = Seen {
        enabled: "arch_cpu_idle (1) R    \ttramp: 0xffffffffc000e000 (kprobe_ftrace_handler+0x0/0xf0) ->ftrace_ops_assist_func+0x0/0x110\n",
        kprobes: "ffffffffb1c356d0  k  arch_cpu_idle+0x0    [FTRACE]\nffffffffb1c356d0  k  arch_cpu_idle+0x0    [FTRACE]\n",
        programs: ProgramSites { on_kprobe: on_kprobe.into(), ..ProgramSites::default() },
        ..Seen::default()
    }
    .handled();
    let site = site(&handled, "arch_cpu_idle");
    assert_eq!(summary(site), [(HandlerKind::Bpf, "trace_idle", Reliance::Relies)]);
    assert_eq!(site.handlers[0].program, Some(7));
    assert_eq!((site.ours.len(), site.ours[0].program), (1, Some(9)));
}

#[test]
fn a_trampoline_is_named_by_its_program_and_shared_with_a_livepatch() {
    let mut programs = ProgramSites::default();
    programs.on_function.insert("arch_cpu_idle".to_owned(), vec![program(3, "rcuw_fentry_00")]);
    let handled = Seen {
        livepatched: &["arch_cpu_idle"],
        enabled: "arch_cpu_idle (2) R I D \ttramp: 0xffffffffc0a00000 (call_direct_funcs+0x0/0x20) ->call_direct_funcs+0x0/0x20\n\tdirect-->bpf_trampoline_6442494947+0x0/0x5c\n",
        programs,
        ..Seen::default()
    }
    .handled();
    let site = site(&handled, "arch_cpu_idle");
    assert_eq!(summary(site), [(HandlerKind::Livepatch, "lab_livepatch_idle", Reliance::Relies)]);
    assert!(site.ours[0].ours && site.ours[0].name == "rcuw_fentry_00");
}

#[test]
fn a_trampoline_of_nobody_known_keeps_its_symbol() {
    let enabled = "arch_cpu_idle (1)     D \ttramp: 0xffffffffc0a00000 (call_direct_funcs+0x0/0x20) ->call_direct_funcs+0x0/0x20\n\tdirect-->bpf_trampoline_24635+0x0/0x5c\n";
    let handled = Seen { enabled, ..Seen::default() }.handled();
    assert_eq!(
        summary(site(&handled, "arch_cpu_idle")),
        [(HandlerKind::Bpf, "bpf_trampoline_24635", Reliance::Relies)]
    );
    // 5.10 does not tell a program's function. Where all programs of the kind are ours, so is this one.
    let handled_with = |unplaced_tracing: Vec<NamedProgram>| {
        let programs = ProgramSites { unplaced_tracing, ..ProgramSites::default() };
        Seen { enabled, programs, ..Seen::default() }.handled()
    };
    let (ours, more_of_ours) = (program(5, "rcuw_fentry_01"), program(6, "rcuw_fentry_02"));
    assert_eq!(summary(site(&handled_with(vec![ours.clone(), more_of_ours]), "arch_cpu_idle")), []);
    // And where there is only one, it is that one.
    let theirs = program(8, "trace_idle");
    let handled = handled_with(vec![theirs.clone()]);
    let by_name = (HandlerKind::Bpf, "trace_idle", Reliance::Relies);
    assert_eq!(summary(site(&handled, "arch_cpu_idle")), [by_name]);
    assert_eq!(site(&handled, "arch_cpu_idle").handlers[0].program, Some(8));
    let handled = handled_with(vec![ours, theirs]);
    let by_trampoline = (HandlerKind::Bpf, "bpf_trampoline_24635", Reliance::Relies);
    assert_eq!(summary(site(&handled, "arch_cpu_idle")), [by_trampoline]);
}

#[test]
fn the_graph_tracers_subops_are_the_handlers() {
    let handled = Seen {
        enabled: "cmdline_proc_show (1)           \ttramp: 0xffffffffc0601000 (ftrace_graph_func+0x0/0x70) ->ftrace_graph_func+0x0/0x70\tsubops: {ent:trace_graph_entry+0x0/0x10 ret:trace_graph_return+0x0/0x140}\n",
        ..Seen::default()
    }
    .handled();
    assert_eq!(
        summary(site(&handled, "cmdline_proc_show")),
        [(HandlerKind::FtraceOps, "trace_graph_entry", Reliance::DoesNotRely)]
    );
}

#[test]
fn a_livepatch_that_is_off_is_no_handler() {
    let mut sightings = Seen { livepatched: &["arch_cpu_idle"], ..Seen::default() }.sightings();
    for patch in sightings.livepatches.as_mut().unwrap() {
        patch.enabled = false;
    }
    assert_eq!(merge(&sightings).sites, []);
}

#[test]
fn a_source_that_cannot_be_read_is_told() {
    let mut sightings = Seen::default().sightings();
    sightings.enabled = Err(crate::kernel::read::support::Reason::new("tracefs is not mounted"));
    let handled = merge(&sightings);
    assert_eq!(handled.unseen[0].0, "ftrace handlers");
    assert_eq!(handled.unseen[0].1.to_string(), "tracefs is not mounted");
}

#[test]
fn an_fprobe_is_skipped_where_the_kernel_looks_first_and_relies_where_it_does_not() {
    for (looks_first, reliance) in [(false, Reliance::Relies), (true, Reliance::SkippedByKernel)] {
        let line = "lab_eqs_target [lab_eqs] (1)    \ttramp: 0xffffffffc0247000 (fprobe_ftrace_entry+0x0/0x260) ->fprobe_ftrace_entry+0x0/0x260\n";
        let mut sightings = Seen { enabled: line, ..Seen::default() }.sightings();
        sightings.fprobe_looks_first = looks_first;
        let handled = merge(&sightings);
        assert_eq!(
            summary(site(&handled, "lab_eqs_target")),
            [(HandlerKind::FtraceOps, "fprobe_ftrace_entry", reliance)]
        );
    }
}

fn on_fprobe(function: &str, ids: &[u32]) -> ProgramSites {
    let all = ids.iter().map(|&id| program(id, "trace_many")).collect();
    ProgramSites { on_fprobe: [(function.to_owned(), all)].into(), ..ProgramSites::default() }
}

fn fprobe(name: &str, symbol: &str) -> ProbeEvent {
    ProbeEvent {
        kind: EventKind::Fprobe,
        group: "lab".to_owned(),
        name: name.to_owned(),
        symbol: symbol.to_owned(),
        module: None,
        offset: 0,
        on_in: vec![None],
        by_perf: None,
        counts: None,
    }
}

const ONE_FPROBE: &str =
    "vfs_mkdir (1)    \ttramp: 0xffffffffc0247000 (fprobe_handler+0x0/0x60) ->fprobe_handler+0x0/0x60\n";

#[test]
fn a_program_of_a_kprobe_multi_link_is_the_handler_and_the_fprobe_that_calls_it_is_none() {
    let by_program = (HandlerKind::Bpf, "trace_many", Reliance::Relies);
    for line in [
        ONE_FPROBE,
        "vfs_mkdir (1)    \ttramp: 0xffffffffc0601000 (ftrace_graph_func+0x0/0x70) ->ftrace_graph_func+0x0/0x70\tsubops: {ent:fprobe_entry+0x0/0x10 ret:fprobe_return+0x0/0x140}\n",
    ] {
        let handled =
            Seen { enabled: line, programs: on_fprobe("vfs_mkdir", &[7]), ..Seen::default() }.handled();
        assert_eq!(summary(site(&handled, "vfs_mkdir")), [by_program]);
        assert_eq!(site(&handled, "vfs_mkdir").handlers[0].program, Some(7));
    }
    // Behind the list function nobody is named, and each link has a handler of its own.
    let counted =
        |enabled| Seen { enabled, programs: on_fprobe("vfs_mkdir", &[7, 8]), ..Seen::default() }.handled();
    let handled = counted("vfs_mkdir (2)       ->ftrace_ops_list_func+0x0/0x180\n");
    assert_eq!(summary(site(&handled, "vfs_mkdir")), [by_program, by_program]);
    let handled = counted("vfs_mkdir (3)       ->ftrace_ops_list_func+0x0/0x180\n");
    assert_eq!(summary(site(&handled, "vfs_mkdir"))[2], (HandlerKind::FtraceOps, UNNAMED, Reliance::Relies));
}

#[test]
fn a_program_on_one_of_two_functions_of_a_name_explains_one_line_only() {
    let handled = Seen {
        enabled: &format!("{ONE_FPROBE}{ONE_FPROBE}"),
        programs: on_fprobe("vfs_mkdir", &[7]),
        ..Seen::default()
    }
    .handled();
    let names: Vec<_> = site(&handled, "vfs_mkdir").handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["trace_many", "fprobe_handler"]);
    let handled = Seen {
        enabled: &format!("{ONE_FPROBE}{ONE_FPROBE}"),
        programs: on_fprobe("vfs_mkdir", &[7, 7]),
        ..Seen::default()
    }
    .handled();
    assert_eq!(site(&handled, "vfs_mkdir").handlers.len(), 1);
}

#[test]
fn an_fprobe_of_an_event_is_told_by_the_event_and_beside_a_program() {
    let event = (HandlerKind::FtraceOps, "lab/made", Reliance::Relies);
    let events = || vec![fprobe("made", "vfs_mkdir"), fprobe("elsewhere", "vfs_rmdir")];
    let handled = Seen { enabled: ONE_FPROBE, events: events(), ..Seen::default() }.handled();
    assert_eq!(summary(site(&handled, "vfs_mkdir")), [event]);
    let owner = site(&handled, "vfs_mkdir").handlers[0].owner.as_ref();
    assert_eq!(owner.map(ToString::to_string).as_deref(), Some("tracefs"));
    let handled = Seen {
        enabled: "vfs_mkdir (2)       ->ftrace_ops_list_func+0x0/0x180\n",
        events: events(),
        programs: on_fprobe("vfs_mkdir", &[7]),
        ..Seen::default()
    }
    .handled();
    let by_program = (HandlerKind::Bpf, "trace_many", Reliance::Relies);
    assert_eq!(summary(site(&handled, "vfs_mkdir")), [by_program, event]);
}

#[test]
fn an_event_that_is_off_is_a_handler_only_where_the_kernel_shows_an_fprobe_of_nobody_else() {
    let off = || vec![ProbeEvent { on_in: Vec::new(), ..fprobe("made", "vfs_mkdir") }];
    // perf has it on, which tracefs does not tell.
    let handled = Seen { enabled: ONE_FPROBE, events: off(), ..Seen::default() }.handled();
    assert_eq!(site(&handled, "vfs_mkdir").handlers[0].name, "lab/made");
    let programs = on_fprobe("vfs_mkdir", &[7]);
    let handled = Seen { enabled: ONE_FPROBE, events: off(), programs, ..Seen::default() }.handled();
    let names: Vec<_> = site(&handled, "vfs_mkdir").handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["trace_many"]);
}

#[test]
fn the_only_program_whose_functions_are_not_told_is_the_one_behind_an_fprobe() {
    let unplaced = |ids: &[u32]| {
        let unplaced_fprobes = ids.iter().map(|&id| program(id, "trace_many")).collect();
        let programs = ProgramSites { unplaced_fprobes, ..ProgramSites::default() };
        let handled = Seen { enabled: ONE_FPROBE, programs, ..Seen::default() }.handled();
        site(&handled, "vfs_mkdir").handlers[0].name.clone()
    };
    assert_eq!(unplaced(&[7]), "trace_many");
    assert_eq!(unplaced(&[7, 8]), "fprobe_handler");
}

#[test]
fn a_kprobe_of_an_event_is_told_with_the_event_and_who_has_it_on() {
    let kprobe = |name: &str, symbol: &str, offset| ProbeEvent {
        kind: EventKind::Kprobe,
        offset,
        ..fprobe(name, symbol)
    };
    let perf =
        Owner::Process { pid: 4711, comm: "perf".to_owned(), cgroup: None, container: None, others: 0 };
    let by_perf = ProbeEvent {
        on_in: Vec::new(),
        by_perf: Some(perf.clone()),
        // As perf probe writes it, 4 bytes before the site that endbr64 moves it to.
        ..kprobe("arch_cpu_idle", "_text", 0x83_56d0)
    };
    let off = ProbeEvent { on_in: Vec::new(), ..kprobe("off", "uptime_proc_show", 0) };
    let handled = Seen {
        kprobes: "\
ffffffff818356d4  k  arch_cpu_idle+0x4    [FTRACE]
ffffffff8101ddd9  k  version_proc_show+0x9    [OPTIMIZED]
ffffffff8101dbe4  k  uptime_proc_show+0x4    [DISABLED][FTRACE]
ffffffff8101dbe4  k  uptime_proc_show+0x4    [FTRACE]
",
        events: vec![off, by_perf, kprobe("version", "version_proc_show", 9)],
        ..Seen::default()
    }
    .handled();
    let told = |function: &str| {
        let [handler] = &site(&handled, function).handlers[..] else { panic!("{function}") };
        (handler.name.clone(), handler.event.clone(), handler.owner.clone())
    };
    let place = |text: &str| text.to_owned();
    assert_eq!(
        told("arch_cpu_idle"),
        (place("arch_cpu_idle+0x4"), Some("lab/arch_cpu_idle".to_owned()), Some(perf))
    );
    assert_eq!(
        told("version_proc_show"),
        (
            place("version_proc_show+0x9"),
            Some("lab/version".to_owned()),
            Some(Owner::Instance { name: None })
        )
    );
    assert_eq!(told("uptime_proc_show"), (place("uptime_proc_show+0x4"), None, None));
}

/// A kprobe at an entry by ftrace, one in a body by a jump, and a trampoline.
fn three_ways(switches: Switches) -> Vec<String> {
    let mut programs = ProgramSites::default();
    programs.on_function.insert("loadavg_proc_show".to_owned(), vec![program(3, "trace_load")]);
    let handled = Seen {
        kprobes: "\
ffffffff8551dbe4  k  uptime_proc_show+0x4    [FTRACE]
ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]
",
        programs,
        switches,
        ..Seen::default()
    }
    .handled();
    handled.sites.into_iter().map(|site| site.function).collect()
}

#[test]
fn a_handler_that_is_switched_off_is_no_handler_that_could_have_run() {
    let all = ["loadavg_proc_show", "uptime_proc_show", "version_proc_show"];
    assert_eq!(three_ways(Switches::default()), all);
    let on = Switches { ftrace: Some(true), kprobes: Some(true), ..Switches::default() };
    assert_eq!(three_ways(on), all);
    assert_eq!(three_ways(Switches { kprobes: Some(false), ..on }), all[..1]);
    assert_eq!(three_ways(Switches { ftrace: Some(false), ..on }), all[2..]);
    // Where ftrace has shut itself down, what it carried may still be called.
    assert_eq!(three_ways(Switches { ftrace: Some(false), ftrace_is_dead: true, ..on }), all);
}
