//! Reads the words of grace periods: a few for what is in progress, more for who is waited for.

use std::collections::BTreeSet;
use std::io;

use rcu_watch_core::condition::holder::CpuState;
use rcu_watch_core::report::finding::TaskReport;
use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::units::{CpuId, Nanos};

use super::Places;
use crate::sys::memory::KernelMemory;

/// kernel/rcu/rcu.h:RCU_SEQ_STATE_MASK: not zero while a grace period is in progress.
const SEQ_STATE_MASK: u64 = 3;
/// kernel/rcu/tasks.h: RTGS_WAIT_GP to RTGS_WAIT_READERS are the states of a grace period, the others are before and after.
const TASKS_IN_PROGRESS: std::ops::RangeInclusive<u64> = 2..=9;
/// include/linux/preempt.h, of the lower half of the word.
const PREEMPT_MASK: u64 = 0xff;
const SOFTIRQ_MASK: u64 = 0xff00;
/// TASK_COMM_LEN.
const COMM_BYTES: usize = 16;
/// Blocked readers of one node that are named.
const BLOCKED_MAX: usize = 8;

/// A grace period in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub flavour: Flavour,
    pub seq: u64,
    /// `None` for those whose start the kernel does not keep.
    pub age: Option<Nanos>,
}

/// A CPU that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WaitedCpu {
    pub cpu: CpuId,
    pub state: Option<CpuState>,
    pub ticks: Option<u64>,
    pub task: Option<TaskReport>,
}

/// Reads through a [`KernelMemory`].
pub(crate) struct Reader<M> {
    memory: M,
    places: Places,
    cpus: Vec<Cpu>,
    /// Length of a jiffy.
    tick: Nanos,
}

/// What never changes of a CPU.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    id: CpuId,
    offset: u64,
    /// Its leaf of the tree of `rcu_node`, and its bit there.
    node: u64,
    bit: u64,
}

impl<M: KernelMemory> Reader<M> {
    /// Learns where each of these CPUs keeps its data; `tick` is how long a jiffy is.
    ///
    /// # Errors
    /// Where kernel memory cannot be read.
    pub(crate) fn new(memory: M, places: Places, cpus: &[CpuId], tick: Nanos) -> io::Result<Self> {
        let at = |cpu: &CpuId| places.words.per_cpu_offset + u64::from(cpu.0) * 8;
        let offsets = words(&memory, cpus.iter().map(at))?;
        let with_offset: Vec<(CpuId, u64)> =
            cpus.iter().zip(offsets).filter_map(|(&cpu, offset)| Some((cpu, offset?))).collect();
        let of_each = |place: u64| with_offset.iter().map(move |&(_, offset)| place.wrapping_add(offset));
        let nodes = words(&memory, of_each(places.mynode))?;
        let bits = words(&memory, of_each(places.grpmask))?;
        // A CPU that was never online has no leaf.
        let known = with_offset.iter().zip(nodes.into_iter().zip(bits));
        let cpus: Vec<Cpu> = known
            .filter_map(|(&(id, offset), (node, bit))| {
                Some(Cpu { id, offset, node: node.filter(|&node| node != 0)?, bit: bit? })
            })
            .collect();
        if cpus.is_empty() {
            return Err(io::Error::other("no CPU's rcu_data could be read"));
        }
        Ok(Self { memory, places, cpus, tick })
    }

    /// Those that are in progress.
    ///
    /// # Errors
    /// Where kernel memory cannot be read.
    pub(crate) fn periods(&self) -> io::Result<Vec<Period>> {
        let places = &self.places;
        let mut asked = vec![
            (places.jiffies, 8),
            (places.gp_seq, 8),
            (places.gp_start, 8),
            (places.expedited_sequence, 8),
        ];
        asked.extend(places.tasks.iter().flat_map(|of| [(of.gp_state, 4), (of.gp_start, 8), (of.seq, 8)]));
        let read = numbers(&self.memory, &asked)?;
        let Some((&[Some(jiffies), Some(gp_seq), gp_start, Some(expedited)], tasks)) =
            read.split_first_chunk()
        else {
            return Err(io::Error::other("rcu_state cannot be read"));
        };
        // It may have been written after jiffies was read.
        let age = |start: u64| Nanos((jiffies.wrapping_sub(start).cast_signed().max(0) as u64) * self.tick.0);
        let mut periods = Vec::new();
        if gp_seq & SEQ_STATE_MASK != 0 {
            periods.push(Period { flavour: Flavour::Rcu, seq: gp_seq, age: gp_start.map(age) });
        }
        if expedited & SEQ_STATE_MASK != 0 {
            periods.push(Period { flavour: Flavour::Expedited, seq: expedited, age: None });
        }
        for (of, read) in places.tasks.iter().zip(tasks.as_chunks::<3>().0) {
            if let [Some(state), Some(start), Some(seq)] = *read
                && TASKS_IN_PROGRESS.contains(&state)
            {
                periods.push(Period { flavour: of.flavour, seq, age: Some(age(start)) });
            }
        }
        Ok(periods)
    }

    /// The CPUs that the grace period of this flavour waits for, and the tasks that were preempted or slept as readers. Of
    /// the flavours of RCU-tasks the kernel keeps no such list.
    ///
    /// # Errors
    /// Where kernel memory cannot be read.
    pub(crate) fn waited_for(&self, flavour: Flavour) -> io::Result<(Vec<WaitedCpu>, Vec<TaskReport>)> {
        let places = &self.places;
        let (mask, tasks) = match flavour {
            Flavour::Rcu => (places.qsmask, places.gp_tasks),
            Flavour::Expedited => (places.expmask, places.exp_tasks),
            _ => return Ok((Vec::new(), Vec::new())),
        };
        let nodes: Vec<u64> =
            self.cpus.iter().map(|cpu| cpu.node).collect::<BTreeSet<_>>().into_iter().collect();
        let masks = words(&self.memory, nodes.iter().map(|node| node + mask))?;
        let first_tasks = words(&self.memory, nodes.iter().map(|node| node + tasks))?;
        let is_waited_for = |cpu: &&Cpu| {
            let mask = nodes.binary_search(&cpu.node).ok().and_then(|index| masks[index]);
            mask.is_some_and(|mask| mask & cpu.bit != 0)
        };
        let cpus: Vec<Cpu> = self.cpus.iter().filter(is_waited_for).copied().collect();
        let mut blocked = Vec::new();
        for (node, first) in nodes.iter().zip(first_tasks) {
            blocked.extend(self.blocked(node + places.blkd_tasks, first.unwrap_or(0))?);
        }
        Ok((self.states(&cpus)?, blocked))
    }

    fn states(&self, cpus: &[Cpu]) -> io::Result<Vec<WaitedCpu>> {
        let Places { words: layout, ticks, curr, .. } = &self.places;
        let state = layout.block + u64::from(layout.state_offset);
        // Where the running task is not known, its place is asked for as one that cannot be read.
        let curr = |offset: u64| curr.map_or(0, |curr| curr.wrapping_add(offset));
        let asked: Vec<(u64, usize)> = cpus
            .iter()
            .flat_map(|&Cpu { offset, .. }| {
                [
                    (state.wrapping_add(offset), 4),
                    (layout.preempt_count.wrapping_add(offset), 4),
                    (ticks.wrapping_add(offset), 8),
                    (curr(offset), 8),
                ]
            })
            .collect();
        let read = numbers(&self.memory, &asked)?;
        cpus.iter()
            .zip(read.as_chunks::<4>().0)
            .map(|(cpu, &[state, preempt_count, ticks, curr])| {
                let curr = curr.filter(|&curr| curr != 0);
                let reader = match (curr, self.places.task.reader) {
                    (Some(task), Some(reader)) => numbers(&self.memory, &[(task + reader, 4)])?[0],
                    _ => None,
                };
                Ok(WaitedCpu {
                    cpu: cpu.id,
                    state: self.state(state, preempt_count, reader),
                    ticks,
                    task: curr.map(|curr| self.task(curr)).transpose()?.flatten(),
                })
            })
            .collect()
    }

    fn state(&self, state: Option<u64>, preempt_count: Option<u64>, reader: Option<u64>) -> Option<CpuState> {
        let (state, preempt_count) = (state?, preempt_count?);
        Some(if state & u64::from(self.places.words.rest_state) == 0 {
            CpuState::Unwatched
        } else if preempt_count & self.places.words.hardirq_mask != 0 {
            CpuState::Hardirq
        } else if preempt_count & SOFTIRQ_MASK != 0 {
            CpuState::Softirq
        } else if reader.is_some_and(|nesting| nesting as u32 != 0) {
            CpuState::Reader
        } else if preempt_count & PREEMPT_MASK != 0 {
            CpuState::NoPreemption
        } else {
            CpuState::Kernel
        })
    }

    /// Follows a node's list of readers that were preempted, from the first one that is waited for.
    fn blocked(&self, head: u64, first: u64) -> io::Result<Vec<TaskReport>> {
        let mut blocked = Vec::new();
        let Some(entry) = self.places.task.entry else { return Ok(blocked) };
        let mut at = first;
        while at != 0 && at != head && blocked.len() < BLOCKED_MAX {
            blocked.extend(self.task(at.wrapping_sub(entry))?);
            at = words(&self.memory, [at])?[0].unwrap_or(0);
        }
        Ok(blocked)
    }

    /// `None` where it is gone.
    fn task(&self, task: u64) -> io::Result<Option<TaskReport>> {
        let of = self.places.task;
        let places = [(task + of.pid, 4), (task + of.tgid, 4), (task + of.comm, COMM_BYTES)];
        let read = self.memory.read(&places)?;
        let [Some(pid), Some(tgid), Some(comm)] = &read[..] else { return Ok(None) };
        let (pid, tgid) = (number(pid) as u32, number(tgid) as u32);
        let comm = comm.split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Some(TaskReport { pid, tgid, comm: String::from_utf8_lossy(comm).into_owned(), idle: pid == 0 }))
    }
}

fn words(
    memory: &impl KernelMemory,
    addresses: impl IntoIterator<Item = u64>,
) -> io::Result<Vec<Option<u64>>> {
    let places: Vec<_> = addresses.into_iter().map(|address| (address, 8)).collect();
    numbers(memory, &places)
}

fn numbers(memory: &impl KernelMemory, places: &[(u64, usize)]) -> io::Result<Vec<Option<u64>>> {
    Ok(memory.read(places)?.iter().map(|bytes| bytes.as_deref().map(number)).collect())
}

/// Of up to eight bytes, little-endian as the records on the wire.
fn number(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let len = bytes.len().min(8);
    word[..len].copy_from_slice(&bytes[..len]);
    u64::from_le_bytes(word)
}
