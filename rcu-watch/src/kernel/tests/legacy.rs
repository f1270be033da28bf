//! The plan on kernels that still let RCU's entry functions be hooked: like those of their time in what kallsyms,
//! ftrace, the kprobe blacklist and BTF say of these functions. None of them was booted.

use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Point, Reliance};
use rcu_watch_core::report::header::Transport;

use super::facts;
use crate::kernel::facts::Facts;
use crate::kernel::facts::attribution::Site;
use crate::kernel::facts::feature::TransportChoice;
use crate::kernel::plan::AttachPlan;
use crate::kernel::plan::Request;
use crate::kernel::plan::select::select;
use crate::kernel::read::support::{Listing, Reason, Support};
use crate::kernel::read::symbol::Symbol;

/// What a kernel says of a function.
struct Says {
    name: &'static str,
    /// In available_filter_functions.
    traceable: bool,
    /// In kprobes/blacklist.
    blacklisted: bool,
}

const fn plain(name: &'static str) -> Says {
    Says { name, traceable: true, blacklisted: false }
}

const fn no_kprobe(name: &'static str) -> Says {
    Says { name, traceable: true, blacklisted: true }
}

/// RHEL 8's: no BTF function list that fentry could use, no ring buffer, everything takes a kprobe
/// (arch/x86/kernel/traps.c:ist_enter, kernel/rcu/tree.c of 4.18).
const RHEL_8: &[Says] = &[
    plain("rcu_irq_enter"),
    plain("rcu_irq_exit"),
    plain("rcu_nmi_enter"),
    plain("rcu_nmi_exit"),
    plain("ist_enter"),
    plain("ist_exit"),
];

/// 5.4's: NOKPROBE since about 5.1 on what int3 itself goes through, and no fentry before 5.5.
const UP_TO_5_4: &[Says] = &[
    plain("rcu_irq_enter"),
    plain("rcu_irq_exit"),
    no_kprobe("rcu_nmi_enter"),
    no_kprobe("rcu_nmi_exit"),
    no_kprobe("ist_enter"),
    no_kprobe("ist_exit"),
];

/// As the captured 5.10, but for these functions and what came between.
fn like(says: &[Says], has_fentry: bool) -> Facts {
    let mut facts = facts("5.10");
    let symbols = facts.symbols.as_mut().unwrap();
    let btf = facts.btf.as_mut().unwrap();
    let Listing::Known(traceable) = &mut facts.traceable else { panic!("no list of functions") };
    let Listing::Known(blacklist) = &mut facts.kprobe_blacklist else { panic!("no blacklist") };
    for (id, one) in (900_000..).zip(says) {
        let symbol =
            Symbol { address: 0xffff_ffff_8100_0000 + u64::from(id), functions: 1, ..Symbol::default() };
        symbols.symbols.insert(one.name.to_owned(), symbol);
        btf.functions.insert(one.name.to_owned(), id);
        for (is_in, list) in [(one.traceable, &mut *traceable), (one.blacklisted, &mut *blacklist)] {
            if is_in {
                list.insert(one.name.to_owned());
            } else {
                list.remove(one.name);
            }
        }
    }
    facts.features.ring_buffer = Support::no("this kernel has no BPF ring buffer");
    if !has_fentry {
        facts.features.fentry = Support::no("the kernel does not know BPF tracing programs");
    }
    facts
}

fn exposed() -> Request {
    Request { exposed: true, allow_fentry: true, ..Request::default() }
}

fn on(plan: &AttachPlan, function: &str) -> Vec<(Point, Mechanism)> {
    let probes = plan.probes.iter().map(|planned| &planned.probe).filter(|probe| probe.symbol == function);
    probes.map(|probe| (probe.point, probe.mechanism)).collect()
}

#[test]
fn like_rhel_8_all_entries_take_kprobes_at_both_ends() {
    let plan = select(&like(RHEL_8, false), &exposed());
    let by_kprobe = |point| vec![(point, Mechanism::KprobeFtrace), (point, Mechanism::Kretprobe)];
    assert_eq!(on(&plan, "rcu_irq_enter"), by_kprobe(Point::IrqEnter));
    assert_eq!(on(&plan, "ist_enter"), by_kprobe(Point::IstEnter));
    assert_eq!(on(&plan, "rcu_irq_exit"), [(Point::IrqExit, Mechanism::KprobeFtrace)]);
    assert_eq!(on(&plan, "ist_exit"), [(Point::IstExit, Mechanism::KprobeFtrace)]);
    assert_eq!(plan.transport, Transport::PerfEventArray);
    assert_eq!(plan.refusals, []);
}

#[test]
fn like_rhel_8_no_int3_goes_where_the_way_into_int3_leads() {
    let of_way = ["ist_enter", "ist_exit", "rcu_nmi_enter", "rcu_nmi_exit"];
    let without_ftrace: [fn(&mut Facts); 2] = [
        |facts| facts.features.kprobe_on_ftrace = Support::no("CONFIG_KPROBES_ON_FTRACE is not set"),
        |facts| facts.traceable = Listing::Unknown(Reason::new("tracefs is not mounted")),
    ];
    for spoil in without_ftrace {
        let mut facts = like(RHEL_8, false);
        spoil(&mut facts);
        let plan = select(&facts, &exposed());
        for function in of_way {
            assert_eq!(on(&plan, function), [], "{function}");
        }
        // An irq's entry is on no such way.
        assert_eq!(on(&plan, "rcu_irq_enter")[0], (Point::IrqEnter, Mechanism::KprobeInt3));
    }
}

#[test]
fn like_5_4_the_nmi_pair_and_ist_enter_are_out_of_reach() {
    let plan = select(&like(UP_TO_5_4, false), &exposed());
    assert_eq!(on(&plan, "rcu_irq_enter").len(), 2);
    for function in ["rcu_nmi_enter", "rcu_nmi_exit", "ist_enter", "ist_exit"] {
        assert_eq!(on(&plan, function), [], "{function}");
    }
    assert_eq!(plan.transport, Transport::PerfEventArray);
}

#[test]
fn like_5_7_the_nmi_pair_and_ist_enter_take_fentry() {
    let facts = like(UP_TO_5_4, true);
    let plan = select(&facts, &exposed());
    assert_eq!(
        on(&plan, "ist_enter"),
        [(Point::IstEnter, Mechanism::Fentry), (Point::IstEnter, Mechanism::Fexit)]
    );
    assert_eq!(
        on(&plan, "rcu_nmi_enter"),
        [(Point::NmiEnter, Mechanism::Fentry), (Point::IrqEnter, Mechanism::Fexit)]
    );
    assert_eq!(on(&plan, "rcu_nmi_exit"), [(Point::NmiExit, Mechanism::Fentry)]);
    // Where fentry would keep livepatches out, it is not used unasked.
    let plan = select(&facts, &Request { allow_fentry: false, ..exposed() });
    assert_eq!(on(&plan, "rcu_nmi_enter"), []);
    assert_eq!(on(&plan, "rcu_irq_enter").first(), Some(&(Point::IrqEnter, Mechanism::KprobeFtrace)));
}

#[test]
fn a_way_in_is_left_alone_unless_asked_for_and_a_way_out_is_not() {
    let plan = select(&like(RHEL_8, false), &Request::default());
    assert_eq!(on(&plan, "rcu_irq_enter"), []);
    assert_eq!(on(&plan, "rcu_irq_exit"), [(Point::IrqExit, Mechanism::KprobeFtrace)]);
    let row = plan.rows.iter().find(|row| row.site.as_deref() == Some("ist_enter")).unwrap();
    assert!(row.passed_over.iter().any(|over| over.reason.contains("--exposed")));
}

#[test]
fn a_way_in_with_somebody_elses_handler_is_watched_as_such() {
    let mut facts = like(RHEL_8, false);
    facts.handled.sites.push(Site {
        function: "ist_enter".to_owned(),
        handlers: vec![Handler {
            kind: HandlerKind::Kprobe,
            name: "ist_enter+0x0".to_owned(),
            event: None,
            program: None,
            reliance: Reliance::Relies,
            ours: false,
            owner: None,
        }],
        ..Site::default()
    });
    let plan = select(&facts, &Request::default());
    assert_eq!(on(&plan, "ist_enter"), [(Point::FtraceFunction, Mechanism::KprobeFtrace)]);
    let probe = plan.probes.iter().find(|planned| planned.probe.symbol == "ist_enter").unwrap();
    assert!(probe.probe.is_rcu_internal);
}

#[test]
fn the_ends_of_the_irqson_pair_are_told_apart_from_its_entries() {
    let plan = select(&facts("6.1"), &Request { exposed: true, ..Request::default() });
    let probes = plan.probes.iter().filter(|planned| planned.probe.symbol == "ct_irq_enter_irqson");
    let internal: Vec<_> = probes.map(|planned| planned.probe.is_rcu_internal).collect();
    assert_eq!(internal, [true, false]);
}

#[test]
fn a_transport_that_is_asked_for_is_used_or_refused() {
    let asked = |transport| Request { transport, ..Request::default() };
    let plan = select(&facts("6.1"), &asked(TransportChoice::Perf));
    assert_eq!((plan.transport, plan.refusals.len()), (Transport::PerfEventArray, 0));
    let plan = select(&like(RHEL_8, false), &asked(TransportChoice::Ring));
    assert_eq!(plan.refusals.len(), 1);
    let mut neither = like(RHEL_8, false);
    neither.features.perf_event_array = Support::no("the kernel does not know BPF perf event arrays");
    let plan = select(&neither, &Request::default());
    assert!(plan.refusals[0].to_string().contains("ring buffer"), "{:?}", plan.refusals);
}
