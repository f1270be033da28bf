//! Who holds a grace period: what a CPU or a task does, in words, and whose handlers are on its stack.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::probe::{Handler, HandlerKind, Reliance};
use crate::report::witness::{Holder, StackFrame, TaskReport};
use crate::units::{CpuId, Nanos};

/// A CPU takes at least 100 timer ticks in a second; one that took none for so long has its irqs off.
const NO_TICK: Nanos = Nanos(900_000_000);

/// A CPU that a grace period waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenCpu {
    /// Its number.
    pub cpu: CpuId,
    /// Linux runs on it.
    pub online: bool,
    /// Its tick may be stopped while it runs a task (`nohz_full=`).
    pub tickless: bool,
    /// By the words of RCU and `preempt_count`; `None` where they could not be read.
    pub state: Option<CpuState>,
    /// `rcu_data.ticks_this_gp`.
    pub ticks: Option<u64>,
    /// The task that it runs.
    pub task: Option<TaskReport>,
    /// That task's, where it could be read: the kernel shows none while it runs.
    pub stack: Vec<StackFrame>,
}

/// What a CPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuState {
    /// RCU does not watch it: it is idle, in user mode or in a guest.
    Unwatched,
    /// In the handler of a hard irq.
    Hardirq,
    /// Softirqs are off, or one is being run.
    Softirq,
    /// In an RCU reader (`rcu_read_lock`).
    Reader,
    /// Preemption is off.
    NoPreemption,
    /// None of these.
    Kernel,
}

/// A task that a grace period waits for, and that does not have to be on a CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenTask {
    /// The task.
    pub task: TaskReport,
    /// What it does, in a few words.
    pub state: String,
    /// Innermost first.
    pub stack: Vec<StackFrame>,
}

/// Since when holders are as they are.
#[derive(Clone, Debug)]
pub struct Since {
    /// The last count of ticks, and since when it is that.
    ticks: BTreeMap<u32, (u64, Nanos)>,
    /// By who they are, as [`key`] has it.
    holders: BTreeMap<String, Nanos>,
}

impl Since {
    /// Nobody was seen yet.
    pub(super) const fn new() -> Self {
        Self { ticks: BTreeMap::new(), holders: BTreeMap::new() }
    }

    /// For how long this CPU has taken no tick.
    fn without_tick(&mut self, now: Nanos, cpu: &SeenCpu) -> Option<Nanos> {
        let ticks = cpu.ticks?;
        let known = self.ticks.entry(cpu.cpu.0).or_insert((ticks, now));
        if known.0 != ticks {
            *known = (ticks, now);
        }
        Some(Nanos(now.0.saturating_sub(known.1.0))).filter(|&none| none >= NO_TICK)
    }
}

/// Puts into words who holds a grace period.
pub(super) fn holders(since: &mut Since, now: Nanos, cpus: &[SeenCpu], tasks: &[SeenTask]) -> Vec<Holder> {
    let mut holders: Vec<Holder> = cpus.iter().map(|cpu| of_cpu(since, now, cpu)).collect();
    holders.extend(tasks.iter().map(|seen| Holder {
        task: Some(seen.task.clone()),
        state: seen.state.clone(),
        stack: seen.stack.clone(),
        ..Holder::default()
    }));
    let first_seen: BTreeMap<String, Nanos> = holders
        .iter()
        .map(|holder| {
            let key = one_key(holder);
            let first = since.holders.get(&key).copied().unwrap_or(now);
            (key, first)
        })
        .collect();
    for holder in &mut holders {
        let first = first_seen.get(&one_key(holder)).copied().unwrap_or(now);
        holder.since_ns = Some(Nanos(now.0.saturating_sub(first.0)));
        holder.function = handlers_on(&holder.stack).first().map(|handler| handler.name.clone());
    }
    since.holders = first_seen;
    holders
}

fn of_cpu(since: &mut Since, now: Nanos, seen: &SeenCpu) -> Holder {
    let no_tick = since.without_tick(now, seen).filter(|_| seen.online);
    let state = match (seen.online, seen.state, no_tick) {
        (false, ..) => "offline".to_owned(),
        (_, Some(CpuState::Unwatched), _) => "idle or in user mode; RCU has not looked yet".to_owned(),
        (_, state, Some(none)) => {
            let so =
                if seen.tickless { ", irqs are off or its tick is stopped" } else { ", so irqs are off" };
            format!("{}; no timer tick for {} s{so}", word(state), none.0.div_ceil(1_000_000_000))
        }
        (_, state, None) => word(state).to_owned(),
    };
    Holder {
        task: seen.task.clone(),
        cpu: Some(seen.cpu),
        state,
        stack: seen.stack.clone(),
        ..Holder::default()
    }
}

const fn word(state: Option<CpuState>) -> &'static str {
    match state {
        Some(CpuState::Hardirq) => "in a hard irq",
        Some(CpuState::Softirq) => "in a softirq, or softirqs are off",
        Some(CpuState::Reader) => "in an RCU reader",
        Some(CpuState::NoPreemption) => "preemption is off",
        Some(CpuState::Kernel) => "in the kernel, without a context switch",
        Some(CpuState::Unwatched) | None => "not known what it does",
    }
}

/// Who holds it, for telling one set of holders from another.
pub(super) fn key(holders: &[Holder]) -> String {
    let keys: Vec<String> = holders.iter().map(one_key).collect();
    keys.join(", ")
}

/// A CPU by the program that it runs, whose threads may take turns; a task by its number.
fn one_key(holder: &Holder) -> String {
    let Holder { task, cpu, .. } = holder;
    match (cpu, task) {
        (Some(cpu), Some(task)) => format!("cpu {cpu} {}", task.comm),
        (Some(cpu), None) => format!("cpu {cpu}"),
        (None, Some(task)) => format!("{}[{}]", task.comm, task.pid),
        (None, None) => String::new(),
    }
}

/// Whose handlers these functions belong to, ours left out.
pub(super) fn handlers_on(stack: &[StackFrame]) -> Vec<Handler> {
    stack
        .iter()
        .filter_map(|frame| handler(frame.symbol.as_deref()?))
        .filter(|handler| !handler.ours)
        .collect()
}

/// `bpf_prog_6deef7357e7b4530_on_read+0x1c [bpf]` is a program's (kernel/bpf/core.c:bpf_get_prog_name), and the functions
/// that call the handlers of kprobes and tracers have names of their own.
fn handler(symbol: &str) -> Option<Handler> {
    let name = symbol.split('+').next()?;
    let of = |kind, name: &str| Handler {
        kind,
        name: name.to_string(),
        event: None,
        program: None,
        owner: None,
        reliance: Reliance::Relies,
        ours: name.starts_with("rcuw_"),
    };
    if let Some(rest) = name.strip_prefix("bpf_prog_") {
        let program = rest.split_once('_').map_or(rest, |(_tag, name)| name);
        return Some(of(HandlerKind::Bpf, program));
    }
    match name {
        "kprobe_ftrace_handler"
        | "aggr_pre_handler"
        | "opt_pre_handler"
        | "kprobe_dispatcher"
        | "kretprobe_dispatcher" => Some(of(HandlerKind::Kprobe, name)),
        "function_trace_call"
        | "function_stack_trace_call"
        | "fprobe_handler"
        | "fprobe_entry"
        | "perf_ftrace_function_call" => Some(of(HandlerKind::FtraceOps, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn cpu(state: CpuState, ticks: u64) -> SeenCpu {
        SeenCpu {
            cpu: CpuId(2),
            online: true,
            tickless: false,
            state: Some(state),
            ticks: Some(ticks),
            task: None,
            stack: Vec::new(),
        }
    }

    fn frames(symbols: &[&str]) -> Vec<StackFrame> {
        symbols.iter().map(|&symbol| StackFrame { address: None, symbol: Some(symbol.to_owned()) }).collect()
    }

    /// The words of a look each second.
    fn states(seen: impl IntoIterator<Item = SeenCpu>) -> Vec<String> {
        let mut since = Since::new();
        let look = |(second, seen)| {
            let mut holders = holders(&mut since, Nanos(second * SECOND), &[seen], &[]);
            holders.remove(0).state
        };
        (10..).zip(seen).map(look).collect()
    }

    #[test]
    fn a_cpu_without_ticks_has_its_irqs_off_and_it_is_told_for_how_long() {
        let states = states([7, 7, 7, 8].map(|ticks| cpu(CpuState::NoPreemption, ticks)));
        assert_eq!(states[0], "preemption is off");
        assert_eq!(states[1], "preemption is off; no timer tick for 1 s, so irqs are off");
        assert_eq!(states[2], "preemption is off; no timer tick for 2 s, so irqs are off");
        assert_eq!(states[3], "preemption is off");
    }

    #[test]
    fn a_cpu_that_is_idle_or_offline_takes_no_ticks_and_has_no_irqs_off() {
        assert!(!states([7, 7].map(|ticks| cpu(CpuState::Unwatched, ticks)))[1].contains("irqs"));
        let offline = || SeenCpu { online: false, ..cpu(CpuState::Kernel, 7) };
        assert_eq!(states([offline(), offline()]), ["offline", "offline"]);
    }

    #[test]
    fn a_cpu_whose_tick_may_be_stopped_is_not_said_to_have_its_irqs_off() {
        let tickless = || SeenCpu { tickless: true, ..cpu(CpuState::Kernel, 7) };
        let states = states([tickless(), tickless()]);
        assert!(
            states[1].ends_with("no timer tick for 1 s, irqs are off or its tick is stopped"),
            "{states:?}"
        );
    }

    #[test]
    fn since_when_it_is_held_begins_anew_with_another_holder() {
        let mut since = Since::new();
        let mut held = |second: u64, comm: &str| {
            let task = TaskReport { pid: 7, tgid: 7, comm: comm.to_owned(), idle: false };
            let cpu = SeenCpu { task: Some(task), ..cpu(CpuState::Kernel, second) };
            holders(&mut since, Nanos(second * SECOND), &[cpu], &[])[0].since_ns.unwrap().0 / SECOND
        };
        assert_eq!([held(1, "a"), held(3, "a"), held(4, "b"), held(6, "b")], [0, 2, 0, 2]);
    }

    #[test]
    fn handlers_are_known_by_the_functions_on_a_stack_and_ours_are_left_out() {
        let stack = frames(&[
            "schedule+0x5d",
            "bpf_prog_6deef7357e7b4530_on_read+0x1c [bpf]",
            "bpf_prog_6deef7357e7b4530_rcuw_fentry_00+0x1c [bpf]",
            "kprobe_ftrace_handler+0x100",
            "vfs_read+0x5",
        ]);
        let names: Vec<_> = handlers_on(&stack).into_iter().map(|handler| handler.name).collect();
        assert_eq!(names, ["on_read", "kprobe_ftrace_handler"]);
    }
}
