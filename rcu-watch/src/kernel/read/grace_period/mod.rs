//! RCU's grace periods, out of kernel memory: which are in progress, how old each is, and what it waits for.
//!
//! Where the words are is found by kallsyms and BTF ([`Places`]), once; [`reader`] reads them. Nothing of it is locked:
//! words of several structs are of slightly different times, and a task or a list may go away while it is read. That
//! is enough for a picture and too little for a verdict; who judges looks twice (`core/condition/grace_period.rs`).

pub(crate) mod busy;
pub(crate) mod reader;
pub(crate) mod timeout;

use rcu_watch_common::config::StateLayout;
use rcu_watch_core::report::grace_period::Flavour;

use crate::kernel::read::btf::{FoundTypes, Member, Query};
use crate::kernel::read::support::Reason;
use crate::kernel::read::symbol::FoundSymbols;

const JIFFIES: &str = "jiffies_64";
const RCU_STATE: &str = "rcu_state";
const RCU_NODE: &str = "rcu_node";
const RCU_DATA: &str = "rcu_data";
const RUNQUEUES: &str = "runqueues";
/// The struct behind [`RUNQUEUES`].
const RQ: &str = "rq";
const TASK: &str = "task_struct";
/// The struct, and the variable of the first flavour.
const RCU_TASKS: &str = "rcu_tasks";
const TASKS: [(Flavour, &str); 3] = [
    (Flavour::Tasks, RCU_TASKS),
    (Flavour::TasksRude, "rcu_tasks_rude"),
    (Flavour::TasksTrace, "rcu_tasks_trace"),
];

/// Symbols that the places are made from.
pub(crate) const SYMBOLS: &[&str] =
    &[JIFFIES, RCU_STATE, RCU_DATA, RUNQUEUES, TASKS[0].1, TASKS[1].1, TASKS[2].1];

/// Members that are looked for. What is `tasks_gp_seq` now was a plain count of grace periods, `n_gps`, in 5.10.
const MEMBERS: [(&str, &[&str]); 6] = [
    (RCU_STATE, &["gp_seq", "gp_start", "expedited_sequence"]),
    (RCU_NODE, &["qsmask", "expmask", "gp_tasks", "exp_tasks", "blkd_tasks"]),
    (RCU_DATA, &["mynode", "grpmask", "ticks_this_gp"]),
    (RQ, &["curr"]),
    (TASK, &["pid", "tgid", "comm", "rcu_read_lock_nesting", "rcu_node_entry"]),
    (RCU_TASKS, &["gp_state", "gp_start", "tasks_gp_seq", "n_gps"]),
];

/// Adds to `query` what the places need of the BTF.
pub(crate) fn ask(query: &mut Query) {
    for (of, members) in MEMBERS {
        query.members.entry(of.to_owned()).or_default().extend(members.iter().map(|&name| name.to_owned()));
    }
}

/// Where this kernel keeps the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    jiffies: u64,
    gp_seq: u64,
    gp_start: u64,
    expedited_sequence: u64,
    /// Offsets in `rcu_node`.
    qsmask: u64,
    expmask: u64,
    gp_tasks: u64,
    exp_tasks: u64,
    blkd_tasks: u64,
    /// Per-CPU addresses of members of `rcu_data`.
    mynode: u64,
    grpmask: u64,
    ticks: u64,
    /// Per-CPU address of the task that runs; `None` where the kernel does not show it.
    curr: Option<u64>,
    task: TaskPlaces,
    tasks: Vec<TasksPlaces>,
    words: StateLayout,
}

/// Offsets in `task_struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskPlaces {
    pid: u64,
    tgid: u64,
    comm: u64,
    /// Only where readers can be preempted (`CONFIG_PREEMPT_RCU`).
    reader: Option<u64>,
    entry: Option<u64>,
}

/// Addresses of one flavour of RCU-tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TasksPlaces {
    flavour: Flavour,
    gp_state: u64,
    gp_start: u64,
    seq: u64,
}

impl Places {
    /// Finds them. `words` is where RCU's words of each CPU are.
    ///
    /// # Errors
    /// What this kernel does not show.
    pub(crate) fn find(btf: &FoundTypes, symbols: &FoundSymbols, words: StateLayout) -> Result<Self, Reason> {
        let symbol = |name: &str| {
            symbols.address(name).ok_or_else(|| {
                Reason::with_remedy(
                    format!("kallsyms shows no `{name}`"),
                    "run as root on a kernel with CONFIG_KALLSYMS_ALL",
                )
            })
        };
        let offset = |of: &str, name: &str| {
            let member = btf.member(of, name).ok_or_else(|| {
                Reason::new(format!(
                    "this kernel's BTF has no `{of}.{name}`: grace periods are kept in another way"
                ))
            })?;
            Ok(u64::from(member.offset_bytes))
        };
        let has = |of: &str, name: &str| {
            btf.member(of, name).map(|Member { offset_bytes, .. }| offset_bytes.into())
        };
        let (state, data) = (symbol(RCU_STATE)?, symbol(RCU_DATA)?);
        let curr = symbols.address(RUNQUEUES).zip(has(RQ, "curr"));
        let seq = has(RCU_TASKS, "tasks_gp_seq").or_else(|| has(RCU_TASKS, "n_gps"));
        let tasks = TASKS.iter().filter_map(|&(flavour, name)| {
            let at = symbols.address(name)?;
            Some(TasksPlaces {
                flavour,
                gp_state: at + has(RCU_TASKS, "gp_state")?,
                gp_start: at + has(RCU_TASKS, "gp_start")?,
                seq: at + seq?,
            })
        });
        Ok(Self {
            jiffies: symbol(JIFFIES)?,
            gp_seq: state + offset(RCU_STATE, "gp_seq")?,
            gp_start: state + offset(RCU_STATE, "gp_start")?,
            expedited_sequence: state + offset(RCU_STATE, "expedited_sequence")?,
            qsmask: offset(RCU_NODE, "qsmask")?,
            expmask: offset(RCU_NODE, "expmask")?,
            gp_tasks: offset(RCU_NODE, "gp_tasks")?,
            exp_tasks: offset(RCU_NODE, "exp_tasks")?,
            blkd_tasks: offset(RCU_NODE, "blkd_tasks")?,
            mynode: data + offset(RCU_DATA, "mynode")?,
            grpmask: data + offset(RCU_DATA, "grpmask")?,
            ticks: data + offset(RCU_DATA, "ticks_this_gp")?,
            curr: curr.map(|(at, offset): (u64, u64)| at + offset),
            task: TaskPlaces {
                pid: offset(TASK, "pid")?,
                tgid: offset(TASK, "tgid")?,
                comm: offset(TASK, "comm")?,
                reader: has(TASK, "rcu_read_lock_nesting"),
                entry: has(TASK, "rcu_node_entry"),
            },
            tasks: tasks.collect(),
            words,
        })
    }
}
