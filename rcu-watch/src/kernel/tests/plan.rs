//! The plan on each captured kernel, and what changes it.

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Point, Reliance};
use rcu_watch_core::units::CpuId;

use super::{KERNELS, Seen, facts, facts_with, tracer};
use crate::kernel::facts::attribution::Site;
use crate::kernel::facts::feature::Features;
use crate::kernel::facts::{Facts, FtraceValidation};
use crate::kernel::plan::select::select;
use crate::kernel::plan::{AttachPlan, PointChoice};
use crate::kernel::plan::{Request, Requirement, WatchpointMode};
use crate::kernel::read::program::{NamedProgram, ProgramSites};
use crate::kernel::read::support::{Listing, Reason, Support};
use crate::kernel::read::switch::Switches;

const KLP_5_10: &str = "arch_cpu_idle (1) R I  \ttramp: 0xffffffffc0370000 (klp_ftrace_handler+0x0/0xa0) ->ftrace_ops_assist_func+0x0/0x110\n";
const KLP_6_1: &str = "arch_cpu_idle (1)   I  \ttramp: 0xffffffffc04ab000 (klp_ftrace_handler+0x0/0x110) ->klp_ftrace_handler+0x0/0x110\n";

fn exposed() -> Request {
    Request { exposed: true, ..Request::default() }
}

/// The row about `function`.
fn row<'a>(plan: &'a AttachPlan, function: &str) -> &'a PointChoice {
    plan.rows.iter().find(|row| row.site.as_deref() == Some(function)).unwrap()
}

fn chosen(plan: &AttachPlan, function: &str) -> Option<Mechanism> {
    row(plan, function).chosen.map(|index| plan.probes[index].probe.mechanism)
}

fn on_point(plan: &AttachPlan, point: Point) -> Vec<(Mechanism, &str)> {
    let probes = plan.probes.iter().map(|planned| &planned.probe).filter(|probe| probe.point == point);
    probes.map(|probe| (probe.mechanism, probe.symbol.as_str())).collect()
}

fn reasons(row: &PointChoice) -> String {
    row.passed_over.iter().map(|over| format!("{}: {}\n", over.symbol, over.reason)).collect()
}

#[test]
fn idle_and_irq_entry_are_said_to_be_unseen_until_a_watchpoint_shows_them() {
    for kernel in KERNELS {
        let unseen = |request: &Request| {
            let plan = select(&facts(kernel), request);
            plan.blind_spots.iter().any(|spot| {
                spot.what == "idle and irq entry" && spot.remedy.as_deref() == Some("--watchpoints sample")
            })
        };
        assert!(unseen(&Request::default()) && unseen(&exposed()), "{kernel}");
        let sample = Request { watchpoints: WatchpointMode::Sample, ..Request::default() };
        assert!(!unseen(&sample), "{kernel}");
    }
}

/// A kernel as before 5.8, by what its kallsyms have not.
fn without_a_debug_entry_that_spares_watchpoints(kernel: &str) -> Facts {
    let mut facts = facts(kernel);
    facts.symbols.as_mut().unwrap().symbols.remove("exc_debug").unwrap();
    facts
}

#[test]
fn where_the_way_into_debug_exceptions_would_hit_it_a_watchpoint_is_neither_set_nor_recommended() {
    const WHY: &str = "not offered: this kernel's #DB entry would hit the watchpoint itself";
    let facts = without_a_debug_entry_that_spares_watchpoints("5.10");
    for request in [Request::default(), exposed()] {
        let plan = select(&facts, &request);
        assert_eq!(plan.refusals, []);
        assert_eq!(plan.unmet(|_| true), Vec::<String>::new());
        let spot = plan.blind_spots.iter().find(|spot| spot.what == "idle and irq entry").unwrap();
        assert!(spot.reason.ends_with(WHY) && spot.remedy.is_none(), "{spot:?}");
        let row = plan.rows.iter().find(|row| row.point == Point::IrqEnter && row.site.is_none()).unwrap();
        assert_eq!(row.reasons(), WHY);
    }
    for watchpoints in [WatchpointMode::Sample, WatchpointMode::Always] {
        let plan = select(&facts, &Request { watchpoints, ..Request::default() });
        assert_eq!(plan.count(|mechanism| mechanism == Mechanism::Watchpoint), 0);
        assert_eq!(plan.watchpoint_cpus, []);
        let refusals: Vec<_> = plan.refusals.iter().map(ToString::to_string).collect();
        assert_eq!(refusals, [format!("watchpoints are {WHY}; leave --watchpoints out")]);
    }
}

#[test]
fn a_watchpoint_that_traps_before_the_write_is_refused_where_it_was_asked_for() {
    let mut arm = facts("6.12");
    arm.machine = "aarch64".to_owned();
    assert_eq!(select(&arm, &Request::default()).refusals, []);
    let request = Request { watchpoints: WatchpointMode::Sample, ..Request::default() };
    let plan = select(&arm, &request);
    assert!(plan.refusals[0].why.contains("traps before the write"), "{:?}", plan.refusals);
    assert_eq!(plan.watchpoint_cpus, []);
}

#[test]
fn every_kernel_is_watched_by_its_tracepoints() {
    for kernel in KERNELS {
        let plan = select(&facts(kernel), &Request::default());
        let tracepoint = |name| [(Mechanism::RawTracepoint, name)];
        assert_eq!(on_point(&plan, Point::Checkpoint), tracepoint("sched_switch"), "{kernel}");
        assert_eq!(on_point(&plan, Point::EqsEnter), tracepoint("cpu_idle"), "{kernel}");
        assert_eq!(on_point(&plan, Point::EqsExit), tracepoint("cpu_idle"), "{kernel}");
        assert_eq!(on_point(&plan, Point::NmiEnter), tracepoint("nmi_handler"), "{kernel}");
        assert_eq!(plan.refusals, [], "{kernel}");
        assert_eq!(plan.unmet(|_| true), Vec::<String>::new(), "{kernel}");
        assert_eq!(plan.cpus, [CpuId(0), CpuId(1)], "{kernel}");
    }
}

#[test]
fn nothing_of_ours_goes_into_an_eqs_unasked() {
    for kernel in KERNELS {
        let plan = select(&facts(kernel), &Request::default());
        assert!(
            plan.probes.iter().all(|planned| planned.probe.mechanism == Mechanism::RawTracepoint),
            "{kernel}"
        );
    }
    let plan = select(&facts("6.1"), &Request::default());
    assert!(reasons(row(&plan, "arch_cpu_idle")).contains("--exposed"));
    assert!(plan.blind_spots.iter().any(|spot| spot.remedy.as_deref() == Some("--exposed")));
}

#[test]
fn asked_for_idle_functions_get_kprobes_on_5_10_and_fentry_on_6_1() {
    let plan = select(&facts("5.10"), &exposed());
    let victims = on_point(&plan, Point::IdleVictim);
    assert!(victims.contains(&(Mechanism::KprobeFtrace, "arch_cpu_idle")));
    assert!(victims.iter().all(|&(mechanism, _)| mechanism == Mechanism::KprobeFtrace));
    assert_eq!(victims.len(), 14);
    let plan = select(&facts("6.1"), &exposed());
    let victims = on_point(&plan, Point::IdleVictim);
    assert!(victims.contains(&(Mechanism::Fentry, "arch_cpu_idle")));
    assert!(victims.iter().all(|&(mechanism, _)| mechanism == Mechanism::Fentry));
    assert_eq!(victims.len(), 15);
}

#[test]
fn from_6_3_no_idle_function_can_be_hooked_and_the_plan_says_why() {
    for kernel in ["6.12", "7.2"] {
        let plan = select(&facts(kernel), &exposed());
        assert_eq!(on_point(&plan, Point::IdleVictim), [], "{kernel}");
        let row = plan.rows.iter().find(|row| row.point == Point::IdleVictim).unwrap();
        let reasons = reasons(row);
        let line = |reason: &str| reasons.lines().find(|line| line.ends_with(reason)).unwrap_or_default();
        assert!(
            line("it is on the kernel's kprobe blacklist").contains("arch_cpu_idle, default_idle"),
            "{reasons}"
        );
        assert!(line("(notrace or noinstr)").contains("arch_cpu_idle, default_idle"), "{reasons}");
        assert!(reasons.contains("amd_e400_idle: this kernel has no such function"), "{reasons}");
        assert!(!plan.blind_spots.iter().any(|spot| spot.what.contains("functions of idle")), "{kernel}");
    }
}

#[test]
fn a_livepatched_function_gets_a_kprobe_on_5_10_and_where_it_could_share_its_site_with_fentry() {
    let seen = |enabled| Seen { livepatched: &["arch_cpu_idle"], enabled, ..Seen::default() }.sightings();
    let old = facts_with("5.10", &seen(KLP_5_10));
    for allow_fentry in [false, true] {
        let plan = select(&old, &Request { allow_fentry, ..Request::default() });
        assert_eq!(chosen(&plan, "arch_cpu_idle"), Some(Mechanism::KprobeFtrace));
        assert!(reasons(row(&plan, "arch_cpu_idle")).contains("livepatched"));
    }
    let plan = select(&facts_with("6.1", &seen(KLP_6_1)), &Request::default());
    assert_eq!(chosen(&plan, "arch_cpu_idle"), Some(Mechanism::KprobeFtrace));
    assert!(reasons(row(&plan, "arch_cpu_idle")).contains("trampoline comes or goes"));
    assert_eq!(row(&plan, "arch_cpu_idle").point, Point::PatchedFunction);
    assert!(row(&plan, "arch_cpu_idle").required);
    let index = row(&plan, "arch_cpu_idle").chosen.unwrap();
    assert_eq!(plan.probes[index].probe.handlers[0].name, "lab_livepatch_idle");
    assert_eq!(plan.unmet(|probe| probe != index).len(), 1);
}

#[test]
fn a_tracer_on_an_idle_function_is_watched_and_needs_no_exposed() {
    let sightings = Seen {
        enabled: "arch_cpu_idle (1)      \ttramp: 0xffffffffc0601000 (stack_trace_call+0x0/0x2f0) ->stack_trace_call+0x0/0x2f0\n",
        tracers: vec![tracer("stack_trace_call")],
        ..Seen::default()
    }
    .sightings();
    let plan = select(&facts_with("6.1", &sightings), &Request::default());
    assert_eq!(chosen(&plan, "arch_cpu_idle"), Some(Mechanism::Fentry));
    assert_eq!(row(&plan, "arch_cpu_idle").point, Point::FtraceFunction);
    assert!(row(&plan, "arch_cpu_idle").required);
}

#[test]
fn a_foreign_kprobe_makes_its_function_a_required_site() {
    let sightings =
        Seen { kprobes: "ffffffff8551ddd9  k  version_proc_show+0x9    [OPTIMIZED]\n", ..Seen::default() }
            .sightings();
    let plan = select(&facts_with("6.12", &sightings), &Request::default());
    assert_eq!(chosen(&plan, "version_proc_show"), Some(Mechanism::Fentry));
    assert!(row(&plan, "version_proc_show").required);
}

fn with_site(kernel: &str, change: impl Fn(&mut Site)) -> Facts {
    let sightings = Seen { livepatched: &["cmdline_proc_show"], ..Seen::default() }.sightings();
    let mut facts = facts_with(kernel, &sightings);
    change(&mut facts.handled.sites[0]);
    facts
}

#[test]
fn a_function_of_a_module_gets_a_kprobe() {
    let facts = with_site("6.1", |site| site.module = Some("ext4".to_owned()));
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "cmdline_proc_show"), Some(Mechanism::KprobeFtrace));
    assert!(reasons(row(&plan, "cmdline_proc_show")).contains("module ext4"));
}

#[test]
fn a_livepatch_for_a_module_that_is_not_loaded_requires_nothing() {
    let facts = with_site("6.1", |site| site.function = "not_loaded_yet".to_owned());
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "not_loaded_yet"), None);
    assert!(!row(&plan, "not_loaded_yet").required);
    assert_eq!(plan.unmet(|_| true), Vec::<String>::new());
}

#[test]
fn a_name_that_two_functions_bear_is_not_probed_by_name() {
    let mut facts = with_site("6.1", |_| {});
    let symbols = facts.symbols.as_mut().unwrap();
    symbols.symbols.get_mut("cmdline_proc_show").unwrap().functions = 2;
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "cmdline_proc_show"), None);
    let unmet = plan.unmet(|_| true);
    assert!(unmet[0].contains("2 functions of this name"), "{unmet:?}");
}

#[test]
fn no_ftrace_probe_goes_where_ftrace_would_warn() {
    let sightings = Seen { livepatched: &["arch_cpu_idle"], enabled: KLP_6_1, ..Seen::default() }.sightings();
    let mut facts = facts_with("6.1", &sightings);
    facts.ftrace_validates_rcu = FtraceValidation::Yes;
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "arch_cpu_idle"), None);
    assert!(plan.unmet(|_| true)[0].contains("RCU off"));
}

/// A kernel whose ftrace asks RCU, with its sites where these offsets are.
fn validating(kernel: &str, handlers: &[(HandlerKind, Reliance)], site: Option<u64>) -> Facts {
    let mut facts = with_site(kernel, |site| {
        site.handlers = handlers.iter().map(|&(kind, reliance)| handler(kind, reliance)).collect();
    });
    facts.ftrace_validates_rcu = FtraceValidation::Yes;
    let address = facts.symbols.as_ref().unwrap().symbols["cmdline_proc_show"].address;
    facts.ftrace_sites.extend(site.map(|offset| ("cmdline_proc_show".to_owned(), address + offset)));
    facts
}

fn handler(kind: HandlerKind, reliance: Reliance) -> Handler {
    Handler {
        kind,
        name: "theirs".to_owned(),
        event: None,
        program: None,
        reliance,
        ours: false,
        owner: None,
    }
}

#[test]
fn where_ftrace_calls_nobody_with_rcu_off_the_body_behind_its_site_is_probed() {
    for (offset, behind) in [(0, 5), (4, 9)] {
        let facts = validating("6.12", &[(HandlerKind::Livepatch, Reliance::Relies)], Some(offset));
        let plan = select(&facts, &Request::default());
        let row = row(&plan, "cmdline_proc_show");
        let planned = &plan.probes[row.chosen.unwrap()];
        assert_eq!((planned.probe.mechanism, planned.offset), (Mechanism::KprobeInt3, behind));
        assert!(planned.probe.ftrace_validates_rcu);
        assert!(reasons(row).contains("calls nobody there while RCU is off"), "{}", reasons(row));
        assert_eq!(plan.unmet(|_| true), Vec::<String>::new());
    }
}

#[test]
fn where_nothing_tells_what_is_behind_the_site_the_run_is_blind_there_and_says_so() {
    // None told; in the middle of something; no x86.
    let mut arm = validating("6.12", &[(HandlerKind::Livepatch, Reliance::Relies)], Some(4));
    arm.machine = "aarch64".to_owned();
    let without = |site| validating("6.12", &[(HandlerKind::FtraceOps, Reliance::Relies)], site);
    for facts in [arm, without(None), without(Some(7))] {
        let plan = select(&facts, &Request::default());
        assert_eq!(chosen(&plan, "cmdline_proc_show"), None);
        assert!(plan.unmet(|_| true)[0].contains("calls nobody there while RCU is off"));
        assert!(plan.blind_spots.iter().any(|spot| spot.what.contains("cmdline_proc_show")));
    }
}

#[test]
fn a_trampoline_alone_is_called_by_nobody_that_asks_rcu() {
    let facts = validating("6.12", &[(HandlerKind::Bpf, Reliance::Relies)], Some(4));
    assert_eq!(chosen(&select(&facts, &Request::default()), "cmdline_proc_show"), Some(Mechanism::Fentry));
    let facts = validating("6.12", &[(HandlerKind::Kprobe, Reliance::EntryCounted)], Some(4));
    assert_eq!(chosen(&select(&facts, &Request::default()), "cmdline_proc_show"), Some(Mechanism::Fentry));
}

#[test]
fn nobody_is_refused_a_program_before_all_are_in_use() {
    let names: Vec<String> = (0..140).map(|number| format!("function_{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut facts = facts_with("6.1", &Seen { livepatched: &names, ..Seen::default() }.sightings());
    // The fixture has none of these functions.
    facts.symbols = Err(Reason::new("for the test"));
    facts.btf = Err(Reason::new("for the test"));
    facts.fentry_excludes_livepatch = false;
    facts.traceable = Listing::Known(names.iter().map(|&name| name.to_owned()).collect());
    let plan = select(&facts, &Request::default());
    assert_eq!(plan.count(|m| m == Mechanism::Fentry), 64);
    assert_eq!(plan.count(|m| m == Mechanism::KprobeFtrace), 64);
    let unmet = plan.unmet(|_| true);
    assert_eq!(unmet.len(), 12);
    assert!(unmet[0].contains("name fewer functions with --function"), "{}", unmet[0]);
}

#[test]
fn tracers_on_everything_do_not_use_up_the_programs() {
    let enabled: String = (0..3000)
        .map(|n| format!("function_{n} (1)      \ttramp: 0xffffffffc0601000 (function_trace_call+0x0/0x120) ->function_trace_call+0x0/0x120\n"))
        .collect();
    let mut sightings = Seen::default().sightings();
    sightings.enabled = Ok(crate::kernel::facts::sightings::Enabled::read(
        enabled.as_bytes(),
        crate::kernel::plan::points::runs_in_eqs,
    )
    .unwrap());
    let mut facts = facts_with("6.1", &sightings);
    facts.symbols = Err(Reason::new("for the test"));
    let plan = select(&facts, &Request::default());
    assert!(plan.rows.len() < 50, "{}", plan.rows.len());
    assert!(plan.blind_spots.iter().any(|spot| spot.what == "2984 more functions with handlers"));
    assert_eq!(plan.unmet(|_| true), Vec::<String>::new());
}

#[test]
fn functions_that_probes_themselves_use_are_left_alone() {
    let facts = with_site("6.1", |site| site.function = "perf_event_output".to_owned());
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "perf_event_output"), None);
}

#[test]
fn function_globs_leave_sites_out_and_say_so() {
    let sightings =
        Seen { livepatched: &["arch_cpu_idle", "cmdline_proc_show"], ..Seen::default() }.sightings();
    let request = Request { functions: vec!["cmd*".parse().unwrap()], ..Request::default() };
    let plan = select(&facts_with("6.1", &sightings), &request);
    assert!(plan.rows.iter().all(|row| row.site.as_deref() != Some("arch_cpu_idle")));
    assert_eq!(chosen(&plan, "cmdline_proc_show"), Some(Mechanism::KprobeFtrace));
    assert!(plan.blind_spots.iter().any(|spot| spot.reason.contains("--function")));
}

#[test]
fn without_trampolines_and_kprobes_there_is_nothing_to_watch_with() {
    let mut facts = facts("6.12");
    facts.features = Features {
        fentry: Support::no("this kernel is built without CONFIG_DYNAMIC_FTRACE"),
        kprobe: Support::no("this kernel is built without CONFIG_KPROBES"),
        ..Features::all()
    };
    let plan = select(&facts, &Request::default());
    let text = plan.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("CONFIG_DYNAMIC_FTRACE") && text.contains("CONFIG_KPROBES"), "{text}");
    assert!(plan.blind_spots.iter().any(|spot| spot.what == "anything"));
}

#[test]
fn without_privileges_every_refusal_has_its_remedy_once() {
    let refused = || Support::No(Reason::with_remedy("BPF needs CAP_BPF and CAP_PERFMON", "run as root"));
    let mut facts = facts("6.1");
    facts.features.bpf = refused();
    facts.features.ring_buffer = refused();
    facts.features.raw_tracepoint = refused();
    let plan = select(&facts, &Request::default());
    assert_eq!(plan.refusals.len(), 1);
    assert_eq!(plan.refusals[0].remedy.as_deref(), Some("run as root"));
}

#[test]
fn what_is_required_and_not_watched_here_is_unmet_with_a_reason() {
    let require = vec![
        Requirement::Point(Point::Checkpoint),
        Requirement::Point(Point::IrqEnter),
        Requirement::Rule(RuleId::UnknownWriter),
    ];
    let plan = select(&facts("6.1"), &Request { require, ..Request::default() });
    let unmet = plan.unmet(|_| true);
    assert_eq!(unmet.len(), 2, "{unmet:?}");
    assert!(unmet[0].starts_with("irq_enter is not watched: "), "{unmet:?}");
    assert!(unmet[1].starts_with("RW012 is not watched"), "{unmet:?}");
}

#[test]
fn each_rule_can_be_required_where_a_probe_of_the_plan_lets_it_judge() {
    let require: Vec<_> = RuleId::ALL.iter().copied().map(Requirement::Rule).collect();
    let facts = with_site("6.1", |_| {});
    let request = Request { require, watchpoints: WatchpointMode::Sample, ..Request::default() };
    let plan = select(&facts, &request);
    let unmet = plan.unmet(|_| true);
    // Since 5.8 nothing of what tells RCU of an irq can be hooked, and the capture has none of the NMIs' handlers.
    assert_eq!(unmet.len(), 2, "{unmet:?}");
    assert!(unmet[0].starts_with("RW002 is not watched: noinstr"), "{unmet:?}");
    assert_eq!(unmet[1], "RW014 is not watched: this kernel has no such function");
}

#[test]
fn cpus_that_are_not_online_are_a_blind_spot() {
    let plan = select(&facts("6.1"), &Request { cpus: vec![CpuId(1), CpuId(7)], ..Request::default() });
    assert_eq!(plan.cpus, [CpuId(1)]);
    assert!(plan.blind_spots.iter().any(|spot| spot.what == "cpu 7"));
}

#[test]
fn without_tracefs_handlers_may_be_unseen_and_kprobes_are_told_apart_by_hit() {
    let mut facts = with_site("6.1", |site| site.module = Some("ext4".to_owned()));
    facts.traceable = Listing::Unknown(Reason::with_remedy("tracefs is not mounted", "mount it"));
    facts.handled.unseen.push(("ftrace handlers", Reason::with_remedy("tracefs is not mounted", "mount it")));
    let plan = select(&facts, &Request::default());
    assert_eq!(chosen(&plan, "cmdline_proc_show"), Some(Mechanism::KprobeInt3));
    assert!(plan.blind_spots.iter().any(|spot| spot.what == "ftrace handlers" && spot.remedy.is_some()));
}

#[test]
fn our_own_programs_make_no_site() {
    let mut programs = ProgramSites::default();
    programs.on_function.insert(
        "arch_cpu_idle".to_owned(),
        vec![NamedProgram { id: 3, name: "rcuw_fentry_00".to_owned(), owner: None }],
    );
    let sightings = Seen { programs, ..Seen::default() }.sightings();
    let plan = select(&facts_with("6.1", &sightings), &Request::default());
    assert_eq!(on_point(&plan, Point::FtraceFunction), []);
}

#[test]
fn with_ftrace_off_nothing_hangs_on_it_and_the_run_is_inconclusive() {
    for kernel in KERNELS {
        let mut facts = facts(kernel);
        facts.handled.switches.ftrace = Some(true);
        assert_eq!(select(&facts, &exposed()).unmet(|_| true), Vec::<String>::new(), "{kernel}");
        facts.handled.switches.ftrace = Some(false);
        let plan = select(&facts, &exposed());
        assert_eq!(plan.count(|m| matches!(m, Mechanism::Fentry | Mechanism::KprobeFtrace)), 0, "{kernel}");
        assert_eq!(on_point(&plan, Point::Checkpoint), [(Mechanism::RawTracepoint, "sched_switch")]);
        let unmet = "whatever ftrace carries is not watched: kernel.ftrace_enabled is 0; sysctl kernel.ftrace_enabled=1";
        assert_eq!(plan.unmet(|_| true), [unmet], "{kernel}");
        let spot = plan.blind_spots.iter().find(|spot| spot.what == "whatever ftrace carries").unwrap();
        assert_eq!(spot.remedy.as_deref(), Some("sysctl kernel.ftrace_enabled=1"), "{kernel}");
    }
}

#[test]
fn with_kprobes_off_no_kprobe_is_planned() {
    let mut facts = facts("5.10");
    assert!(select(&facts, &exposed()).count(|m| m == Mechanism::KprobeFtrace) > 0);
    facts.handled.switches = Switches { kprobes: Some(false), ..Switches::default() };
    let plan = select(&facts, &exposed());
    assert_eq!(plan.count(|m| matches!(m, Mechanism::KprobeFtrace | Mechanism::KprobeInt3)), 0);
    assert!(plan.blind_spots.iter().any(|spot| spot.what == "kprobes"));
}
