//! What `doctor` says of a kernel that has everything, and of one that has not.

use rcu_watch_core::report::check::CheckState;

use super::facts;
use crate::kernel::diagnosis::{diagnose, watchpoint};
use crate::kernel::facts::Facts;
use crate::kernel::facts::feature::Features;
use crate::kernel::facts::layout::LayoutError;
use crate::kernel::read::privilege::Privileges;
use crate::kernel::read::support::{Reason, Support};
use crate::kernel::read::switch::Switches;
use crate::kernel::{Request, select};

#[test]
fn on_the_stock_kernels_nothing_blocks() {
    for kernel in super::KERNELS {
        let blocking: Vec<_> = diagnose(&facts(kernel))
            .into_iter()
            .filter(|check| check.state == CheckState::Blocking)
            .collect();
        assert_eq!(blocking, [], "{kernel}");
    }
}

#[test]
fn fentry_and_livepatch_exclude_each_other_on_5_10_only() {
    let states = super::KERNELS.map(|kernel| {
        let checks = diagnose(&facts(kernel));
        checks.into_iter().find(|check| check.name == "fentry with livepatch").unwrap().state
    });
    assert_eq!(states, [CheckState::Lacking, CheckState::Ok, CheckState::Ok, CheckState::Ok]);
}

#[test]
fn what_blocks_has_its_remedy() {
    let mut facts = facts("6.1");
    facts.privileges = Privileges::new(0);
    facts.privileges.kptr_restrict = Some(2);
    facts.symbols.as_mut().unwrap().hidden = true;
    facts.features = Features {
        bpf: Support::No(Reason::with_remedy("BPF needs CAP_BPF", "run as root")),
        ..Features::all()
    };
    let blocking: Vec<_> =
        diagnose(&facts).into_iter().filter(|check| check.state == CheckState::Blocking).collect();
    let names: Vec<_> = blocking.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "kptr_restrict", "kallsyms", "BPF"]);
    assert!(blocking.iter().all(|check| check.remedy.is_some()));
}

#[test]
fn what_blocks_is_what_the_planner_refuses_by() {
    let no = |why: &str| Support::No(Reason::with_remedy(why, "run as root"));
    let spoilt: [fn(&mut Facts, Support); 5] = [
        |facts, no| facts.features.bpf = no,
        |facts, no| (facts.features.ring_buffer, facts.features.perf_event_array) = (no.clone(), no),
        |facts, no| facts.features.raw_tracepoint = no,
        |facts, no| (facts.features.fentry, facts.features.kprobe) = (no.clone(), no),
        |facts, _| {
            let reason = Reason::new("there is no BTF");
            facts.btf = Err(reason.clone());
            facts.layout = Err(LayoutError::NoTypes(reason));
        },
    ];
    let blocks = |facts: &Facts| diagnose(facts).iter().any(|check| check.state == CheckState::Blocking);
    let refuses = |facts: &Facts| !select(facts, &Request::default()).refusals.is_empty();
    for spoil in spoilt {
        let mut facts = facts("6.1");
        assert!(!blocks(&facts) && !refuses(&facts));
        spoil(&mut facts, no("BPF needs CAP_BPF"));
        assert!(blocks(&facts) && refuses(&facts), "{:?}", diagnose(&facts));
    }
}

#[test]
fn before_the_split_every_mechanism_takes_sys_admin() {
    let mut facts = facts("6.1");
    let needs = |facts: &Facts, name: &str| {
        diagnose(facts).into_iter().find(|check| check.name == name).unwrap().needs
    };
    assert_eq!(needs(&facts, "fentry"), ["CAP_BPF", "CAP_PERFMON"]);
    assert_eq!(needs(&facts, "names of BPF programs"), ["CAP_SYS_ADMIN"]);
    facts.privileges.last_capability = 37;
    assert_eq!(needs(&facts, "fentry"), ["CAP_SYS_ADMIN"]);
}

#[test]
fn addresses_that_everybody_sees_take_no_capability() {
    let mut facts = facts("6.1");
    facts.privileges = Privileges::new(0);
    let syslog =
        |facts: &Facts| diagnose(facts).into_iter().find(|check| check.name == "CAP_SYSLOG").unwrap().state;
    assert_eq!(syslog(&facts), CheckState::Ok);
    facts.symbols.as_mut().unwrap().hidden = true;
    assert_eq!(syslog(&facts), CheckState::Blocking);
}

#[test]
fn a_watchpoint_on_the_kernel_takes_sys_admin_although_one_of_our_own_opened() {
    let mut facts = facts("6.1");
    facts.machine = "x86_64".to_owned();
    facts.privileges = Privileges::new((1 << 38) | (1 << 39));
    assert_eq!(watchpoint(&facts, || Ok(())).state, CheckState::Lacking);
    facts.privileges = Privileges::new(1 << 21);
    assert_eq!(watchpoint(&facts, || Ok(())).state, CheckState::Ok);
}

#[test]
fn a_watchpoint_that_would_hit_itself_is_not_even_tried() {
    let mut facts = facts("5.10");
    facts.machine = "x86_64".to_owned();
    facts.symbols.as_mut().unwrap().symbols.remove("exc_debug").unwrap();
    let check = watchpoint(&facts, || panic!("tried"));
    assert_eq!(check.state, CheckState::Lacking);
    assert!(
        check.detail.ends_with(": not offered: this kernel's #DB entry would hit the watchpoint itself"),
        "{}",
        check.detail
    );
}

#[test]
fn a_kernel_with_kprobes_alone_is_not_blocked() {
    let mut facts = facts("6.1");
    facts.features.fentry = Support::no("this kernel is built without CONFIG_DYNAMIC_FTRACE");
    let state = |name: &str| diagnose(&facts).into_iter().find(|check| check.name == name).unwrap().state;
    assert_eq!(state("fentry"), CheckState::Lacking);
    facts.features.kprobe = Support::no("this kernel is built without CONFIG_KPROBES");
    let state = |name: &str| diagnose(&facts).into_iter().find(|check| check.name == name).unwrap().state;
    assert_eq!(state("fentry"), CheckState::Blocking);
}

#[test]
fn a_switch_that_is_off_is_named_with_what_turns_it_on() {
    let mut facts = facts("6.12");
    let found = |facts: &Facts, name: &str| diagnose(facts).into_iter().find(|check| check.name == name);
    assert_eq!(found(&facts, "kernel.ftrace_enabled"), None);
    facts.handled.switches = Switches { ftrace: Some(true), kprobes: Some(true), ..Switches::default() };
    for name in ["kernel.ftrace_enabled", "kprobes/enabled"] {
        assert_eq!(found(&facts, name).unwrap().state, CheckState::Ok);
    }
    facts.handled.switches = Switches { ftrace: Some(false), kprobes: Some(false), ..Switches::default() };
    for (name, remedy) in [
        ("kernel.ftrace_enabled", "sysctl kernel.ftrace_enabled=1"),
        ("kprobes/enabled", "echo 1 > /sys/kernel/debug/kprobes/enabled"),
    ] {
        let check = found(&facts, name).unwrap();
        assert_eq!((check.state, check.remedy.as_deref()), (CheckState::Lacking, Some(remedy)));
    }
    facts.handled.switches.ftrace_is_dead = true;
    let check = found(&facts, "kernel.ftrace_enabled").unwrap();
    assert_eq!(check.remedy.as_deref(), Some("only a reboot turns it on again"));
}
