//! Grace periods out of made-up kernel memory, by the types of the four kernels.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use rcu_watch_common::config::StateLayout;
use rcu_watch_core::condition::holder::CpuState;
use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::units::{CpuId, Nanos};

use super::{KERNELS, tree};
use crate::kernel::read::btf::{FoundTypes, Query, search};
use crate::kernel::read::grace_period::reader::{Period, Reader};
use crate::kernel::read::grace_period::{Places, ask};
use crate::kernel::read::symbol::FoundSymbols;
use crate::sys::memory::KernelMemory;

const OFFSETS: u64 = 0xffff_ffff_9000_0000;
const STATE: u64 = 0xffff_ffff_9100_0000;
const JIFFIES: u64 = 0xffff_ffff_9200_0000;
const TASKS: u64 = 0xffff_ffff_9300_0000;
/// Per-CPU addresses.
const DATA: u64 = 0x2_0000;
const RUNQUEUES: u64 = 0x3_0000;
const WORDS: u64 = 0x4_0000;
const PREEMPT_COUNT: u64 = 0x4_0100;
const TICK: Nanos = Nanos(4_000_000);

const SYMBOLS: &str = "\
0000000000020000 A rcu_data
0000000000030000 A runqueues
ffffffff91000000 d rcu_state
ffffffff92000000 D jiffies_64
ffffffff93000000 d rcu_tasks
ffffffff93001000 t some_text
";

/// Bytes by address.
#[derive(Default)]
struct Made(RefCell<BTreeMap<u64, u8>>);

impl Made {
    fn set(&self, address: u64, bytes: &[u8]) {
        self.0.borrow_mut().extend((address..).zip(bytes.iter().copied()));
    }

    fn set_word(&self, address: u64, word: u64) {
        self.set(address, &word.to_le_bytes());
    }
}

impl KernelMemory for &Made {
    fn read(&self, places: &[(u64, usize)]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let bytes = self.0.borrow();
        let of = |&(address, len): &(u64, usize)| {
            (address..).take(len).map(|address| bytes.get(&address).copied()).collect()
        };
        Ok(places.iter().map(of).collect())
    }
}

fn types(kernel: &str) -> FoundTypes {
    let mut query = Query::default();
    ask(&mut query);
    search(File::open(tree(kernel).path("/sys/kernel/btf/vmlinux")).unwrap(), &query).unwrap()
}

fn symbols() -> FoundSymbols {
    FoundSymbols::read(SYMBOLS.as_bytes(), |_| true).unwrap()
}

/// Three CPUs of one node, of which the last was never online, with no grace period in progress.
struct Kernel {
    made: Made,
    types: FoundTypes,
}

const NODE: u64 = 0xffff_ffff_9100_0000;

fn cpu_base(cpu: u64) -> u64 {
    0xffff_8880_0000_0000 + cpu * 0x10_0000
}

impl Kernel {
    fn new(kernel: &str) -> Self {
        let this = Self { made: Made::default(), types: types(kernel) };
        this.made.set_word(JIFFIES, 10_000);
        for member in ["gp_seq", "gp_start", "expedited_sequence"] {
            this.set(STATE, "rcu_state", member, 400);
        }
        for member in ["qsmask", "expmask", "gp_tasks", "exp_tasks"] {
            this.set(NODE, "rcu_node", member, 0);
        }
        for member in ["gp_state", "gp_start", "tasks_gp_seq", "n_gps"] {
            this.set(TASKS, "rcu_tasks", member, 0);
        }
        for cpu in 0..3 {
            this.made.set_word(OFFSETS + cpu * 8, cpu_base(cpu));
            this.set(cpu_base(cpu) + DATA, "rcu_data", "mynode", if cpu < 2 { NODE } else { 0 });
            this.set(cpu_base(cpu) + DATA, "rcu_data", "grpmask", 1 << cpu);
            this.set(cpu_base(cpu) + DATA, "rcu_data", "ticks_this_gp", 30 + cpu);
            this.made.set_word(cpu_base(cpu) + WORDS, 4);
            this.made.set_word(cpu_base(cpu) + PREEMPT_COUNT, 0x8000_0001);
            this.set(cpu_base(cpu) + RUNQUEUES, "rq", "curr", 0);
        }
        this
    }

    fn offset(&self, of: &str, member: &str) -> Option<u64> {
        self.types.member(of, member).map(|member| member.offset_bytes.into())
    }

    /// Does nothing where this kernel has no such member.
    fn set(&self, at: u64, of: &str, member: &str, word: u64) {
        if let Some(offset) = self.offset(of, member) {
            self.made.set_word(at + offset, word);
        }
    }

    fn task(&self, at: u64, pid: u64, comm: &str) {
        self.set(at, "task_struct", "rcu_read_lock_nesting", 0);
        self.set(at, "task_struct", "tgid", pid - 1);
        let mut name = [0; 16];
        name[..comm.len()].copy_from_slice(comm.as_bytes());
        self.made.set(at + self.offset("task_struct", "comm").unwrap(), &name);
        self.made.set(at + self.offset("task_struct", "pid").unwrap(), &(pid as u32).to_le_bytes());
    }

    fn reader(&self) -> Reader<&Made> {
        let words = StateLayout {
            per_cpu_offset: OFFSETS,
            block: WORDS,
            preempt_count: PREEMPT_COUNT,
            hardirq_mask: 0xf_0000,
            rest_state: 4,
            ..StateLayout::default()
        };
        let places = Places::find(&self.types, &symbols(), words).unwrap();
        Reader::new(&self.made, places, &[0, 1, 2].map(CpuId), TICK).unwrap()
    }
}

#[test]
fn a_quiet_kernel_has_no_grace_period_in_progress() {
    for kernel in KERNELS {
        assert_eq!(Kernel::new(kernel).reader().periods().unwrap(), [], "{kernel}");
    }
}

#[test]
fn each_flavour_in_progress_is_read_with_its_age() {
    for kernel in KERNELS {
        let made = Kernel::new(kernel);
        made.set(STATE, "rcu_state", "gp_seq", 4321 << 2 | 1);
        made.set(STATE, "rcu_state", "gp_start", 9_000);
        made.set(STATE, "rcu_state", "expedited_sequence", 77 << 2 | 1);
        made.set(TASKS, "rcu_tasks", "tasks_gp_seq", 9);
        made.set(TASKS, "rcu_tasks", "n_gps", 9);
        made.set(TASKS, "rcu_tasks", "gp_start", 10_001);
        // RTGS_WAIT_SCAN_HOLDOUTS
        made.made.set(TASKS + made.offset("rcu_tasks", "gp_state").unwrap(), &[6, 0, 0, 0]);
        let expected = [
            Period { flavour: Flavour::Rcu, seq: 4321 << 2 | 1, age: Some(Nanos(4_000_000_000)) },
            Period { flavour: Flavour::Expedited, seq: 77 << 2 | 1, age: None },
            // It began after the clock was read.
            Period { flavour: Flavour::Tasks, seq: 9, age: Some(Nanos(0)) },
        ];
        assert_eq!(made.reader().periods().unwrap(), expected, "{kernel}");
    }
}

#[test]
fn only_cpus_that_are_waited_for_are_named_with_what_they_run() {
    for kernel in KERNELS {
        let made = Kernel::new(kernel);
        let task = 0xffff_8881_0000_0000;
        made.task(task, 4711, "spinner");
        made.set(NODE, "rcu_node", "qsmask", 0b10);
        made.set(NODE, "rcu_node", "expmask", 0b01);
        made.set(cpu_base(1) + RUNQUEUES, "rq", "curr", task);
        made.made.set_word(cpu_base(0) + WORDS, 0);
        let (cpus, tasks) = made.reader().waited_for(Flavour::Rcu).unwrap();
        let [cpu] = &cpus[..] else { panic!("{kernel}: {cpus:?}") };
        assert_eq!((cpu.cpu, cpu.state, cpu.ticks), (CpuId(1), Some(CpuState::NoPreemption), Some(31)));
        let task = cpu.task.as_ref().unwrap();
        assert_eq!((task.pid, task.tgid, &task.comm[..], task.idle), (4711, 4710, "spinner", false));
        assert_eq!(tasks, []);
        let (cpus, _) = made.reader().waited_for(Flavour::Expedited).unwrap();
        assert_eq!((cpus[0].cpu, cpus[0].state), (CpuId(0), Some(CpuState::Unwatched)));
        assert_eq!(cpus[0].task, None, "its task cannot be read");
    }
}

#[test]
fn what_a_cpu_does_is_told_by_its_preempt_count_and_its_tasks_nesting() {
    let state = |preempt_count: u64, nesting: u64| {
        let made = Kernel::new("6.12");
        let task = 0xffff_8881_0000_0000;
        made.task(task, 4711, "spinner");
        made.set(task, "task_struct", "rcu_read_lock_nesting", nesting);
        made.set(NODE, "rcu_node", "qsmask", 0b10);
        made.set(cpu_base(1) + RUNQUEUES, "rq", "curr", task);
        made.made.set_word(cpu_base(1) + PREEMPT_COUNT, preempt_count);
        made.reader().waited_for(Flavour::Rcu).unwrap().0[0].state.unwrap()
    };
    // The inverted bit for a wanted switch is set in all of them.
    assert_eq!(state(0x8000_0000, 0), CpuState::Kernel);
    assert_eq!(state(0x8000_0001, 0), CpuState::NoPreemption);
    assert_eq!(state(0x8000_0001, 1), CpuState::Reader);
    assert_eq!(state(0x8000_0201, 1), CpuState::Softirq);
    assert_eq!(state(0x8001_0001, 1), CpuState::Hardirq);
}

#[test]
fn blocked_readers_are_followed_to_the_end_of_their_list() {
    for kernel in ["6.1", "6.12", "7.2"] {
        let made = Kernel::new(kernel);
        let entry = made.offset("task_struct", "rcu_node_entry").unwrap();
        let head = NODE + made.offset("rcu_node", "blkd_tasks").unwrap();
        let [first, second] = [0xffff_8881_0000_0000, 0xffff_8882_0000_0000];
        made.task(first, 11, "first");
        made.task(second, 22, "second");
        made.set(NODE, "rcu_node", "gp_tasks", first + entry);
        made.made.set_word(first + entry, second + entry);
        made.made.set_word(second + entry, head);
        let (_, tasks) = made.reader().waited_for(Flavour::Rcu).unwrap();
        let names: Vec<_> = tasks.iter().map(|task| (task.pid, &task.comm[..])).collect();
        assert_eq!(names, [(11, "first"), (22, "second")], "{kernel}");
        // A list that a moving task has made a ring of.
        made.made.set_word(second + entry, first + entry);
        assert_eq!(made.reader().waited_for(Flavour::Rcu).unwrap().1.len(), 8, "{kernel}");
    }
}

#[test]
fn a_kernel_that_shows_no_variables_is_told_with_the_remedy() {
    let text_only = FoundSymbols::read("ffffffff93001000 t some_text\n".as_bytes(), |_| true).unwrap();
    let error = Places::find(&types("6.12"), &text_only, StateLayout::default()).unwrap_err().to_string();
    assert!(error.contains("rcu_state") && error.contains("CONFIG_KALLSYMS_ALL"), "{error}");
}
