//! The watchpoints of a run: opened CPU by CPU, switched by turns, followed over hotplug, and counted by cause.
//!
//! A breakpoint dies with its CPU's going offline and does not come back with it: the list of online CPUs is
//! looked at once a second. What the hardware counted beyond the program's own hits is `missed`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rcu_watch_common::slot;
use rcu_watch_core::cause::{Cause, Writers, cause};
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::kernel::TextMap;
use rcu_watch_core::probe::Mechanism;
use rcu_watch_core::report::header::BlindSpot;
use rcu_watch_core::report::transition::{Balance, BalanceKind, Transitions};
use rcu_watch_core::report::{Message, ProbeError};
use rcu_watch_core::snapshot::Snapshot;
use rcu_watch_core::units::{CpuId, ProbeId};

use super::duty::Duty;
use super::{RunningProbe, Session};
use crate::clock;
use crate::kernel::cpu;
use crate::kernel::line::first_line;
use crate::kernel::plan::WatchpointMode;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// What a run knows of its watchpoints.
#[derive(Default)]
pub(crate) struct Watch {
    /// CPUs that are to have one.
    cpus: Vec<CpuId>,
    /// CPUs that have one.
    open: Vec<CpuId>,
    /// `None`: on all the time.
    duty: Option<Duty>,
    windows: u64,
    /// Off, all of them, to stay below `--max-overhead`.
    given_up: bool,
    pub causes: Causes,
}

/// What became of a CPU that is to have a watchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It went offline, and its watchpoint with it.
    Gone,
    /// It is there, and has none.
    Bare,
}

impl Watch {
    /// The CPUs whose watchpoints are to be closed or set, where these are online.
    fn changes(&self, online: &[CpuId]) -> Vec<(CpuId, Seen)> {
        if self.given_up {
            return Vec::new();
        }
        let change = |&cpu: &CpuId| match (self.open.contains(&cpu), online.contains(&cpu)) {
            (true, false) => Some((cpu, Seen::Gone)),
            (false, true) => Some((cpu, Seen::Bare)),
            (true, true) | (false, false) => None,
        };
        self.cpus.iter().filter_map(change).collect()
    }

    /// The CPU has none any more: it is asked again every second.
    fn lost(&mut self, cpu: CpuId) {
        self.open.retain(|&other| other != cpu);
    }

    pub(super) const fn mode(&self) -> WatchpointMode {
        match self.duty {
            Some(_) => WatchpointMode::Sample,
            None => WatchpointMode::Always,
        }
    }

    pub(super) fn is_given_up(&self, running: &RunningProbe) -> bool {
        self.given_up && running.probe.mechanism == Mechanism::Watchpoint
    }
}

/// Transitions by cause.
#[derive(Default)]
pub(crate) struct Causes {
    /// Of which kernel; `None` without watchpoints.
    of: Option<(Generation, Writers)>,
    counts: [u64; Cause::ALL.len()],
}

impl Causes {
    /// Why S was written, where this snapshot is of a watchpoint.
    pub(crate) fn count(&mut self, snapshot: &Snapshot<'_>) -> Option<Cause> {
        let (generation, writers) = self.of.as_ref()?;
        if snapshot.probe.0 != slot::WATCH_STATE || snapshot.synthetic {
            return None;
        }
        let cause = cause(*generation, writers, snapshot);
        self.counts[cause as usize] += 1;
        Some(cause)
    }

    const fn of(&self, cause: Cause) -> u64 {
        self.counts[cause as usize]
    }
}

impl Session {
    /// Opens watchpoints on `cpus`, and switches each on once: only that shows whether it can be. They stay off while
    /// their program counts nothing. Returns what stays unseen; an error where nothing is seen.
    pub(super) fn open_watchpoints(&mut self, cpus: &[CpuId]) -> Result<Vec<BlindSpot>, String> {
        let generation = self.pipeline.kernel().generation;
        if let Some(table) = self.symbols.table() {
            let (text, writers) = crate::kernel::text::find(table);
            let known = &mut self.pipeline.kernel_mut().text;
            *known = TextMap { known_victims: std::mem::take(&mut known.known_victims), ..text };
            self.watch.causes.of = Some((generation, writers));
        }
        self.watch.cpus = cpus.to_vec();
        let mut unseen = Vec::new();
        for &cpu in cpus {
            let opened = self.programs.open_watchpoint(cpu, true);
            match opened.and_then(|()| self.programs.switch_watchpoint(cpu, false)) {
                Ok(()) => {
                    self.watch.open.push(cpu);
                    self.watch.windows += 1;
                }
                Err(error) => unseen.push(BlindSpot {
                    what: format!("idle and irq entry on cpu {cpu}"),
                    reason: format!("{:#}", anyhow::Error::new(error)),
                    remedy: None,
                }),
            }
        }
        if self.watch.open.is_empty() {
            // None is set later either: the run was told that there are none.
            self.watch.cpus.clear();
            let mut reasons: Vec<String> = unseen.into_iter().map(|spot| spot.reason).collect();
            reasons.dedup();
            return Err(reasons.join("; "));
        }
        Ok(unseen)
    }

    /// Switches all of them on, so that each can prove itself.
    pub(super) fn prove_watchpoints(&mut self) -> Result<()> {
        self.programs.forget_writes();
        for &cpu in &self.watch.open {
            self.programs.switch_watchpoint(cpu, true)?;
        }
        Ok(())
    }

    /// Ends the time in which every watchpoint was on to prove itself.
    pub(super) fn start_watch(&mut self, mode: WatchpointMode) -> Result<()> {
        if mode != WatchpointMode::Sample || self.watch.open.is_empty() {
            return Ok(());
        }
        for &cpu in &self.watch.open {
            self.programs.switch_watchpoint(cpu, false)?;
        }
        self.watch.duty = Some(Duty::new(&self.watch.open));
        Ok(())
    }

    /// Takes all watchpoints off.
    pub(super) fn close_watchpoints(&mut self) {
        for cpu in std::mem::take(&mut self.watch.open) {
            self.programs.close_watchpoint(cpu);
        }
        self.watch.given_up = true;
    }

    /// Sets them again. A CPU that has none left for us is asked again every second; an error where none has.
    pub(super) fn reopen_watchpoints(&mut self) -> Result<(), String> {
        let mut refusal = "no cpu has one to spare".to_owned();
        for cpu in self.watch.cpus.clone() {
            match self.programs.open_watchpoint(cpu, true) {
                Ok(()) => {
                    self.watch.open.push(cpu);
                    self.watch.windows += 1;
                }
                Err(error) => refusal = format!("{:#}", anyhow::Error::new(error)),
            }
        }
        self.watch.given_up = self.watch.open.is_empty();
        if self.watch.given_up { Err(refusal) } else { Ok(()) }
    }

    /// Switches what is due.
    pub(super) fn turn_watchpoints(&mut self) -> Result<()> {
        let Some(duty) = &mut self.watch.duty else { return Ok(()) };
        let now = Duration::from_nanos(clock::now().0.saturating_sub(self.started.0));
        for (cpu, on) in duty.due(now) {
            self.watch.windows += u64::from(on);
            if let Err(error) = self.programs.switch_watchpoint(cpu, on) {
                self.programs.close_watchpoint(cpu);
                self.watch.lost(cpu);
                let error = anyhow::Error::new(error);
                self.tell_bare(cpu, format!("{error:#}; it is set again when that is over"))?;
            }
        }
        Ok(())
    }

    /// Opens the watchpoint of a CPU that came back or lost its own, and closes that of one that went.
    pub(super) fn follow_hotplug(&mut self) -> Result<()> {
        if self.watch.cpus.is_empty() {
            return Ok(());
        }
        let online = cpu::of_line(&first_line(Path::new(ONLINE)).unwrap_or_default());
        for (cpu, seen) in self.watch.changes(&online) {
            match seen {
                Seen::Gone => {
                    self.programs.close_watchpoint(cpu);
                    self.watch.lost(cpu);
                    let said = "the cpu went offline, and its watchpoint with it; it is set again when the cpu is back";
                    self.tell_bare(cpu, said.to_owned())?;
                }
                // An error: it is not fully up yet, or taken. It is asked again in a second.
                Seen::Bare => {
                    if self.programs.open_watchpoint(cpu, self.watch.duty.is_none()).is_ok() {
                        self.watch.open.push(cpu);
                        self.watch.windows += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells that a CPU has no watchpoint any more.
    fn tell_bare(&mut self, cpu: CpuId, error: String) -> Result<()> {
        let probe = Some(ProbeId(slot::WATCH_STATE));
        let error = ProbeError { probe, symbol: format!("S of cpu {cpu}"), error };
        self.tell(clock::now(), Some(cpu), Message::ProbeError(error))
    }

    /// The balance of all transitions that were seen; `None` without watchpoints.
    pub(super) fn transitions(&self) -> Option<Transitions> {
        let causes = &self.watch.causes;
        causes.of.as_ref()?;
        let probe = ProbeId(slot::WATCH_STATE);
        let writes = self.programs.watched_writes();
        let hits = self.books.hits(probe);
        let unseen = self.books.lost_of(probe) + self.books.unstable_of(probe) + writes.saturating_sub(hits);
        let allowed = self.watch.windows + unseen + causes.of(Cause::Unknown);
        let balance = |kind, enter, exit| Balance::new(kind, causes.of(enter), causes.of(exit), allowed);
        Some(Transitions {
            writes,
            windows: self.watch.windows,
            balance: vec![
                balance(BalanceKind::Idle, Cause::IdleEnter, Cause::IdleExit),
                balance(BalanceKind::Irq, Cause::IrqEnter, Cause::IrqExit),
                balance(BalanceKind::User, Cause::UserEnter, Cause::UserExit),
            ],
            momentary: causes.of(Cause::Momentary),
            unknown: causes.of(Cause::Unknown),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUS: [CpuId; 2] = [CpuId(0), CpuId(3)];

    fn watch() -> Watch {
        Watch { cpus: CPUS.to_vec(), open: CPUS.to_vec(), ..Watch::default() }
    }

    #[test]
    fn the_last_cpu_that_comes_back_gets_its_watchpoint_again() {
        let mut watch = watch();
        assert_eq!(watch.changes(&[CpuId(0), CpuId(1), CpuId(3)]), []);
        assert_eq!(watch.changes(&[CpuId(1)]), CPUS.map(|cpu| (cpu, Seen::Gone)));
        CPUS.iter().for_each(|&cpu| watch.lost(cpu));
        assert_eq!(watch.changes(&[CpuId(1)]), []);
        assert_eq!(watch.changes(&[CpuId(1), CpuId(3)]), [(CpuId(3), Seen::Bare)]);
    }

    #[test]
    fn a_cpu_whose_switch_failed_is_asked_again() {
        let mut watch = watch();
        watch.lost(CpuId(3));
        assert_eq!(watch.changes(&CPUS), [(CpuId(3), Seen::Bare)]);
    }

    #[test]
    fn what_was_given_up_to_save_time_is_not_set_by_hotplug() {
        let watch = Watch { open: Vec::new(), given_up: true, ..watch() };
        assert_eq!(watch.changes(&CPUS), []);
    }
}
