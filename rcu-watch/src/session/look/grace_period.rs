//! Looks at the grace periods that are in progress, and at who holds those that last.
//!
//! Whether one is in progress is a few words of kernel memory. Who holds it is asked for only of one that is older than
//! two seconds, which on a healthy system none is.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcu_watch_core::RuleId;
use rcu_watch_core::condition::Looked;
use rcu_watch_core::condition::grace_period::{GracePeriods, SeenPeriod};
use rcu_watch_core::condition::holder::{SeenCpu, SeenTask};
use rcu_watch_core::report::Message;
use rcu_watch_core::report::finding::{StackFrame, TaskReport};
use rcu_watch_core::report::grace_period::Flavour;
use rcu_watch_core::units::{CpuId, Nanos};

use super::{Look, Sighted};
use crate::bpf::BpfError;
use crate::bpf::peek::Peek;
use crate::clock;
use crate::kernel::Facts;
use crate::kernel::cpu;
use crate::kernel::grace_period::busy::{self, Busy};
use crate::kernel::grace_period::reader::{Period, Reader, WaitedCpu};
use crate::kernel::grace_period::{Places, timeout};
use crate::kernel::layout::Layout;
use crate::kernel::line::first_line;
use crate::kernel::mount::Tree;
use crate::kernel::thread;

const AT_REST: Duration = Duration::from_secs(2);
const CLOSE: Duration = Duration::from_secs(1);
/// A look at all threads may take this part of the time between two of them.
const BUSY_SHARE: u32 = 20;

/// The look for RW020.
pub(super) struct GracePeriodLook {
    /// Why nothing can be read, where that is so.
    reader: Result<Arc<Reader<Peek>>, String>,
    periods: GracePeriods,
    tree: Tree,
    tick: Nanos,
    is_close: bool,
    threads: Threads,
}

/// Threads that stay in the kernel, of all threads at two times.
struct Threads {
    last: Vec<Busy>,
    next: Instant,
    stayed: Vec<TaskReport>,
}

impl GracePeriodLook {
    pub(super) fn new(facts: &Facts, layout: &Layout, peek: &Result<Peek, BpfError>) -> Self {
        let (tree, tick) = (Tree::live(), clock::tick());
        Self {
            reader: open(facts, layout, peek, &tree, tick).map(Arc::new),
            periods: GracePeriods::default(),
            tree,
            tick,
            is_close: false,
            threads: Threads { last: Vec::new(), next: Instant::now(), stayed: Vec::new() },
        }
    }

    fn seen(&mut self, now: Nanos, reader: &Reader<Peek>) -> io::Result<Vec<SeenPeriod>> {
        let mut seen = Vec::new();
        let periods = reader.periods()?;
        for &Period { flavour, seq, age } in &periods {
            let lasts = self.periods.wants_holders(now, flavour, seq, age);
            let (cpus, tasks) = if lasts { self.holders(reader, flavour)? } else { Default::default() };
            let warns_at = lasts.then(|| timeout::warns_at(&self.tree, flavour, self.tick)).flatten();
            seen.push(SeenPeriod { flavour, seq, age, warns_at, cpus, tasks });
        }
        if !seen.is_empty() {
            // One that has ended meanwhile was waiting for nobody that was read.
            let still: Vec<_> = reader.periods()?.iter().map(|period| (period.flavour, period.seq)).collect();
            seen.retain(|period| still.contains(&(period.flavour, period.seq)));
        }
        Ok(seen)
    }

    fn holders(
        &mut self,
        reader: &Reader<Peek>,
        flavour: Flavour,
    ) -> io::Result<(Vec<SeenCpu>, Vec<SeenTask>)> {
        if flavour == Flavour::Tasks {
            self.threads.look(&self.tree);
            let stay = |task: &TaskReport| self.task(task, "stays in the kernel, awake");
            return Ok((Vec::new(), self.threads.stayed.iter().map(stay).collect()));
        }
        let (cpus, tasks) = reader.waited_for(flavour)?;
        let (online, tickless) = (self.cpus("online"), self.cpus("nohz_full"));
        let of_cpu = |WaitedCpu { cpu, state, ticks, task }: WaitedCpu| SeenCpu {
            cpu,
            online: online.contains(&cpu),
            tickless: tickless.contains(&cpu),
            state,
            ticks,
            stack: task.as_ref().map(|task| self.stack(task)).unwrap_or_default(),
            task,
        };
        let cpus = cpus.into_iter().map(of_cpu).collect();
        Ok((cpus, tasks.iter().map(|task| self.task(task, "off its CPU in an RCU reader")).collect()))
    }

    fn task(&self, task: &TaskReport, state: &str) -> SeenTask {
        SeenTask { task: task.clone(), state: state.to_owned(), stack: self.stack(task) }
    }

    fn stack(&self, task: &TaskReport) -> Vec<StackFrame> {
        let path = format!("/proc/{}/task/{}", task.tgid, task.pid);
        let stack = thread::stack(&self.tree.path(&path)).unwrap_or_default();
        stack.iter().map(StackFrame::from).collect()
    }

    fn cpus(&self, which: &str) -> BTreeSet<CpuId> {
        let path = self.tree.path("/sys/devices/system/cpu").join(which);
        cpu::of_line(&first_line(&path).unwrap_or_default()).into_iter().collect()
    }
}

impl Look for GracePeriodLook {
    fn pause(&self) -> Duration {
        if self.is_close { CLOSE } else { AT_REST }
    }

    fn look(&mut self, now: Nanos) -> Sighted {
        let blind = |why: String| Sighted {
            looked: vec![(RuleId::GracePeriodHeld, Looked::Blind(why))],
            ..Sighted::default()
        };
        let reader = match &self.reader {
            Ok(reader) => reader.clone(),
            Err(why) => return blind(why.clone()),
        };
        match self.seen(now, &reader) {
            Ok(seen) => {
                let judged = self.periods.look(now, &seen);
                self.is_close = self.periods.is_notable(now);
                let report = |period| Message::GracePeriod(Box::new(period));
                Sighted {
                    conditions: judged.conditions,
                    messages: judged.reports.into_iter().map(report).collect(),
                    looked: vec![(RuleId::GracePeriodHeld, Looked::Judged)],
                    ..Sighted::default()
                }
            }
            Err(error) => blind(format!("RCU's words could not be read: {error}")),
        }
    }
}

impl Threads {
    /// Looks at all threads, unless that was done a moment ago.
    fn look(&mut self, tree: &Tree) {
        let start = Instant::now();
        if start < self.next {
            return;
        }
        let busy = busy::read(tree);
        let stayed = busy.iter().filter(|now| self.last.iter().any(|before| now.stayed(before)));
        self.stayed = stayed.map(|busy| busy.task.clone()).collect();
        self.last = busy;
        self.next = start + start.elapsed() * BUSY_SHARE;
    }
}

fn open(
    facts: &Facts,
    layout: &Layout,
    peek: &Result<Peek, BpfError>,
    tree: &Tree,
    tick: Nanos,
) -> Result<Reader<Peek>, String> {
    let peek = peek.as_ref().map_err(|error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        format!("no program can read kernel memory here: {error}{cause}; a kernel since 5.10 is needed")
    })?;
    let btf = facts.btf.as_ref().map_err(ToString::to_string)?;
    let symbols = facts.symbols.as_ref().map_err(ToString::to_string)?;
    let places = Places::find(btf, symbols, layout.state).map_err(|reason| reason.to_string())?;
    let possible = tree.path("/sys/devices/system/cpu/possible");
    let cpus = cpu::of_line(&first_line(&possible).unwrap_or_default());
    Reader::new(peek.clone(), places, &cpus, tick)
        .map_err(|error| format!("RCU's words could not be read: {error}"))
}
