//! What `doctor` says of the facts: each with what it is for, and what to do where it is lacking.
//!
//! Works on [`Facts`] alone, so a captured kernel is a test. What blocks here is what the planner refuses by:
//! where nothing is blocking a run can start, and the tests hold the two to each other.

mod configuration;
mod mechanism;
mod privilege;

use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};

use crate::kernel::facts::{Facts, FtraceValidation};
use crate::kernel::read::support::{Listing, Reason, Support};

pub(super) use configuration::SYMBOLS;
pub(crate) use mechanism::watchpoint;

/// All checks, in the order in which they depend on each other.
#[must_use]
pub(crate) fn diagnose(facts: &Facts) -> Vec<Check> {
    let mut checks = privilege::checks(facts);
    checks.extend(configuration::checks(facts));
    checks.extend(sources(facts));
    checks.extend(mechanism::checks(facts));
    checks.extend(facts.tracepoints.iter().map(|(name, support)| {
        of_support(CheckGroup::Tracepoint, name, support, "there", name == "sched_switch")
    }));
    checks.extend(ftrace(facts));
    checks.extend(switches(facts));
    checks.push(layout(facts));
    checks
}

fn check(group: CheckGroup, name: &str, state: CheckState, detail: impl Into<String>) -> Check {
    Check { group, name: name.to_owned(), state, detail: detail.into(), needs: Vec::new(), remedy: None }
}

fn lacking(group: CheckGroup, name: &str, state: CheckState, reason: &Reason) -> Check {
    Check { remedy: reason.remedy.clone(), ..check(group, name, state, reason.why.clone()) }
}

fn of_support(group: CheckGroup, name: &str, support: &Support, detail: &str, needed: bool) -> Check {
    match support {
        Support::Yes => check(group, name, CheckState::Ok, detail),
        Support::No(reason) => {
            lacking(group, name, if needed { CheckState::Blocking } else { CheckState::Lacking }, reason)
        }
    }
}

/// What is read, and what it tells.
fn sources(facts: &Facts) -> Vec<Check> {
    let symbols = match &facts.symbols {
        Ok(symbols) if symbols.hidden => Check {
            remedy: Some("run as root, and set kernel.kptr_restrict to 0 or 1".to_owned()),
            ..check(CheckGroup::Source, "kallsyms", CheckState::Blocking, "addresses are hidden")
        },
        Ok(_) => check(CheckGroup::Source, "kallsyms", CheckState::Ok, "tells where per-CPU data lies"),
        Err(reason) => lacking(CheckGroup::Source, "kallsyms", CheckState::Blocking, reason),
    };
    let symbols = Check { needs: privilege::to_see_addresses(facts), ..symbols };
    let btf = match &facts.btf {
        Ok(found) if found.variables.is_empty() => check(
            CheckGroup::Source,
            "BTF",
            CheckState::Ok,
            "tells where members lie; without variables, so sizes are those of the kernels that had none",
        ),
        Ok(_) => check(CheckGroup::Source, "BTF", CheckState::Ok, "tells where members lie"),
        Err(reason) => lacking(CheckGroup::Source, "BTF", CheckState::Blocking, reason),
    };
    let listing = |name, listing: &Listing, purpose: &str| match listing.reason() {
        None => check(CheckGroup::Source, name, CheckState::Ok, purpose),
        Some(reason) => lacking(CheckGroup::Source, name, CheckState::Lacking, reason),
    };
    let mut checks = vec![
        symbols,
        btf,
        listing("available_filter_functions", &facts.traceable, "tells what can be hooked"),
        listing("kprobes/blacklist", &facts.kprobe_blacklist, "tells where no kprobe may sit"),
    ];
    let unseen = &facts.handled.unseen;
    for name in ["livepatches", "ftrace handlers", "kprobes", "names of BPF programs"] {
        let found = match unseen.iter().find(|(what, _)| *what == name) {
            Some((_, reason)) => lacking(CheckGroup::Source, name, CheckState::Lacking, reason),
            None => check(CheckGroup::Source, name, CheckState::Ok, "tell whose handlers are where"),
        };
        // kernel/bpf/syscall.c:bpf_prog_get_fd_by_id asks for it.
        let needs =
            if name == "names of BPF programs" { vec!["CAP_SYS_ADMIN".to_owned()] } else { Vec::new() };
        checks.push(Check { needs, ..found });
    }
    checks
}

fn ftrace(facts: &Facts) -> Vec<Check> {
    let shares = if facts.fentry_excludes_livepatch {
        Check {
            remedy: Some("kprobes are used; --allow-fentry uses fentry all the same".to_owned()),
            ..check(
                CheckGroup::State,
                "fentry with livepatch",
                CheckState::Lacking,
                "they keep each other from one function here",
            )
        }
    } else {
        check(CheckGroup::State, "fentry with livepatch", CheckState::Ok, "they can share a function")
    };
    let validates = match &facts.ftrace_validates_rcu {
        FtraceValidation::No => {
            check(CheckGroup::State, "ftrace where RCU is off", CheckState::Ok, "handlers run there")
        }
        FtraceValidation::Yes => check(
            CheckGroup::State,
            "ftrace where RCU is off",
            CheckState::Lacking,
            "handlers are refused there, with a warning",
        ),
        FtraceValidation::Unknown(reason) => {
            lacking(CheckGroup::State, "ftrace where RCU is off", CheckState::Unknown, reason)
        }
    };
    vec![shares, validates]
}

/// What turns handlers off for everybody, ours among them.
fn switches(facts: &Facts) -> Vec<Check> {
    let switches = facts.handled.switches;
    let row = |name, is_there: bool, off: Option<Reason>, on: &str, means: &str| match off {
        Some(reason) => Some(Check {
            detail: format!("{}: {means}", reason.why),
            ..lacking(CheckGroup::State, name, CheckState::Lacking, &reason)
        }),
        None => is_there.then(|| check(CheckGroup::State, name, CheckState::Ok, on)),
    };
    let ftrace = row(
        "kernel.ftrace_enabled",
        switches.ftrace.is_some(),
        switches.ftrace_is_off(),
        "on: ftrace calls its handlers",
        "fentry, fprobes, tracers and kprobes on function entries do not run, whose ever they are",
    );
    let kprobes = row(
        "kprobes/enabled",
        switches.kprobes.is_some(),
        switches.kprobes_are_off(),
        "on: kprobes are armed",
        "no kprobe runs, whose ever it is",
    );
    ftrace.into_iter().chain(kprobes).collect()
}

fn layout(facts: &Facts) -> Check {
    match facts.layout.as_ref().map(|layout| (layout, layout.for_programs())) {
        Ok((layout, Ok(_))) => check(
            CheckGroup::State,
            "layout",
            CheckState::Ok,
            format!("{}: S is {}", layout.generation, layout.state_member()),
        ),
        Ok((_, Err(error))) => check(CheckGroup::State, "layout", CheckState::Blocking, error.to_string()),
        Err(error) => check(CheckGroup::State, "layout", CheckState::Blocking, error.to_string()),
    }
}
