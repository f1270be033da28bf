//! RW020: a grace period that lasts, and who holds it.
//!
//! What goes in are racy reads of RCU's own words: of several structs at slightly different times, without a lock. So a
//! single look is never believed: a grace period counts as held when two looks in a row saw the same one beyond its
//! limit. The limit is half of what the kernel itself allows before it warns, and at least [`LIMIT_LEAST`].

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Condition;
use super::holder::{self, SeenCpu, SeenTask, Since};
use crate::finding::{RuleId, Severity};
use crate::report::grace_period::{Flavour, GracePeriod};
use crate::report::witness::Holder;
use crate::units::{Nanos, WideNumber};

/// Grace periods of seconds are usual on a busy machine.
const LIMIT_LEAST: Nanos = Nanos(5_000_000_000);
/// Where the kernel never warns, a minute is too long for anybody who waits.
const LIMIT_SILENT: Nanos = Nanos(60_000_000_000);
/// Younger ones are not worth a word.
const NOTABLE: Nanos = Nanos(2_000_000_000);
/// Between two messages of one grace period.
const HEARTBEAT: Nanos = Nanos(10_000_000_000);

/// A grace period in progress, as one look read it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPeriod {
    /// Of which RCU.
    pub flavour: Flavour,
    /// The kernel's number of it.
    pub seq: u64,
    /// Its age by the kernel's own clock; `None` where the kernel does not keep its start.
    pub age: Option<Nanos>,
    /// When the kernel warns of it itself; `None`: never.
    pub warns_at: Option<Nanos>,
    /// The CPUs that it waits for.
    pub cpus: Vec<SeenCpu>,
    /// The tasks that it waits for.
    pub tasks: Vec<SeenTask>,
}

/// What the looks so far saw.
#[derive(Clone, Debug, Default)]
pub struct GracePeriods {
    held: BTreeMap<Flavour, Held>,
}

/// What one look comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Those that are held, where that was not told yet.
    pub conditions: Vec<Condition>,
    /// Those that are notable.
    pub reports: Vec<GracePeriod>,
}

/// A grace period that is in progress.
#[derive(Clone, Debug)]
struct Held {
    seq: u64,
    first_seen: Nanos,
    /// The look before this one saw it beyond the limit.
    was_beyond: bool,
    /// Who was told to hold it.
    told: Vec<String>,
    last_report: Option<(Nanos, GracePeriod)>,
    since: Since,
}

impl GracePeriods {
    /// Takes in what a look saw: every grace period that is in progress.
    pub fn look(&mut self, now: Nanos, seen: &[SeenPeriod]) -> Judged {
        let mut judged = Judged::default();
        let is_still = |flavour: Flavour, held: &Held| {
            seen.iter().any(|period| (period.flavour, period.seq) == (flavour, held.seq))
        };
        for flavour in Flavour::ALL {
            if let Some(held) = self.held.remove(flavour) {
                if is_still(*flavour, &held) {
                    self.held.insert(*flavour, held);
                } else {
                    judged.reports.extend(held.last_word());
                }
            }
        }
        for period in seen {
            let held = self.held.entry(period.flavour).or_insert_with(|| Held::new(period.seq, now));
            held.look(now, period, &mut judged);
        }
        judged
    }

    /// Whether one of them is worth a look each second.
    #[must_use]
    pub fn is_notable(&self, now: Nanos) -> bool {
        self.held.values().any(|held| held.last_report.is_some() || now.0 - held.first_seen.0 >= NOTABLE.0)
    }

    /// Whether a look should find out who holds this one, which costs more than to see that it is there.
    #[must_use]
    pub fn wants_holders(&self, now: Nanos, flavour: Flavour, seq: u64, age: Option<Nanos>) -> bool {
        let held = self.held.get(&flavour).filter(|held| held.seq == seq);
        age_of(now, held.map_or(now, |held| held.first_seen), age) >= NOTABLE
    }
}

/// The kernel's clock stands still where the CPU that drives it has its irqs off; ours does not, but began later.
fn age_of(now: Nanos, first_seen: Nanos, by_kernel: Option<Nanos>) -> Nanos {
    Nanos(now.0.saturating_sub(first_seen.0)).max(by_kernel.unwrap_or_default())
}

/// From when on a grace period counts as held.
fn limit(warns_at: Option<Nanos>) -> Nanos {
    warns_at.map_or(LIMIT_SILENT, |warns_at| Nanos(warns_at.0 / 2).max(LIMIT_LEAST))
}

impl Held {
    const fn new(seq: u64, first_seen: Nanos) -> Self {
        Self { seq, first_seen, was_beyond: false, told: Vec::new(), last_report: None, since: Since::new() }
    }

    fn look(&mut self, now: Nanos, seen: &SeenPeriod, judged: &mut Judged) {
        let age = age_of(now, self.first_seen, seen.age);
        let is_beyond = age >= limit(seen.warns_at);
        if age >= NOTABLE {
            let holders = holder::holders(&mut self.since, now, &seen.cpus, &seen.tasks);
            let report = GracePeriod {
                flavour: seen.flavour,
                seq: WideNumber(seen.seq),
                age_ns: age,
                warns_at_ns: seen.warns_at,
                over: false,
                waited_for: holders,
            };
            if is_beyond && self.was_beyond {
                judged.conditions.extend(self.condition(&report));
            }
            let told = self.last_report.as_ref().map(|&(told, _)| told);
            if told.is_none_or(|told| now.0 - told.0 >= HEARTBEAT.0) {
                judged.reports.push(report.clone());
                self.last_report = Some((now, report));
            } else if let Some((_, last)) = &mut self.last_report {
                *last = report;
            }
        }
        self.was_beyond = is_beyond;
    }

    /// `None` where that was told of these holders.
    fn condition(&mut self, report: &GracePeriod) -> Option<Condition> {
        let key = holder::key(&report.waited_for);
        if self.told.contains(&key) {
            return None;
        }
        self.told.push(key.clone());
        let mut condition = Condition::new(
            RuleId::GracePeriodHeld,
            Severity::Warning,
            report.flavour.name().to_string(),
            because(report),
        );
        condition.holders.clone_from(&report.waited_for);
        condition.handlers =
            report.waited_for.iter().flat_map(|held| holder::handlers_on(&held.stack)).collect();
        condition.handlers.sort();
        condition.handlers.dedup();
        if let [Holder { task: Some(task), stack, .. }] = &report.waited_for[..] {
            condition.task = Some(task.clone());
            condition.stack.clone_from(stack);
        }
        condition.help = help(report.flavour, &report.waited_for);
        condition.key = key;
        Some(condition)
    }

    /// The message that it is over, where it was told that it lasts.
    fn last_word(self) -> Option<GracePeriod> {
        self.last_report.map(|(_, report)| GracePeriod { over: true, waited_for: Vec::new(), ..report })
    }
}

fn because(report: &GracePeriod) -> String {
    let seconds = |nanos: Nanos| nanos.0 / 1_000_000_000;
    let age = seconds(report.age_ns);
    let warns = match report.warns_at_ns {
        Some(at) if at > report.age_ns => format!("; the kernel warns at {} s", seconds(at)),
        _ => String::new(),
    };
    format!("a grace period has lasted for {age} s{warns}")
}

fn help(flavour: Flavour, holders: &[Holder]) -> Option<String> {
    let help = match (flavour, holders.is_empty()) {
        (Flavour::Rcu, true) => {
            "no CPU and no task is waited for any more: the grace period's own kthread does not get to run; look for \
             what starves it"
        }
        (Flavour::TasksRude, _) => {
            "each CPU must switch tasks once; look for a task that runs in the kernel without a pause"
        }
        (Flavour::TasksTrace, _) => "a BPF program that may sleep has not ended; `bpftool prog` lists them",
        (Flavour::Tasks, true) => {
            "who holds it was not seen; look for a task that runs in the kernel without a pause"
        }
        _ => return None,
    };
    Some(help.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::holder::CpuState;
    use crate::report::witness::TaskReport;
    use crate::units::CpuId;

    const SECOND: u64 = 1_000_000_000;

    fn on_cpu(cpu: u32, ticks: u64) -> SeenCpu {
        SeenCpu {
            cpu: CpuId(cpu),
            online: true,
            tickless: false,
            state: Some(CpuState::NoPreemption),
            ticks: Some(ticks),
            task: Some(TaskReport { pid: 700 + cpu, tgid: 700, comm: "spinner".to_owned(), idle: false }),
            stack: Vec::new(),
        }
    }

    fn period(seq: u64, age_s: u64, cpus: Vec<SeenCpu>) -> SeenPeriod {
        SeenPeriod {
            flavour: Flavour::Rcu,
            seq,
            age: Some(Nanos(age_s * SECOND)),
            warns_at: Some(Nanos(21 * SECOND)),
            cpus,
            tasks: Vec::new(),
        }
    }

    /// A look each second from the 100th on.
    fn looks(seen: impl IntoIterator<Item = Vec<SeenPeriod>>) -> Vec<Judged> {
        let mut periods = GracePeriods::default();
        (100..).zip(seen).map(|(second, seen)| periods.look(Nanos(second * SECOND), &seen)).collect()
    }

    fn told(judged: &[Judged]) -> Vec<&Condition> {
        judged.iter().flat_map(|judged| &judged.conditions).collect()
    }

    #[test]
    fn a_grace_period_beyond_half_the_timeout_is_told_at_the_second_look_and_once() {
        let judged = looks((9..20).map(|age| vec![period(5, age, vec![on_cpu(1, 30)])]));
        let told = told(&judged);
        assert_eq!(told.len(), 1);
        // 10.5 s: 11 s are beyond it, and 12 s is the look after.
        assert_eq!(judged[3].conditions, [told[0].clone()]);
        assert_eq!(told[0].severity, Severity::Warning);
        assert_eq!(told[0].function, "rcu");
        assert_eq!(told[0].because, "a grace period has lasted for 12 s; the kernel warns at 21 s");
        assert_eq!(told[0].holders[0].cpu, Some(CpuId(1)));
        assert_eq!(told[0].task.as_ref().unwrap().pid, 701);
    }

    #[test]
    fn one_look_is_not_enough() {
        let judged = looks([vec![period(5, 20, vec![on_cpu(1, 30)])], vec![period(9, 20, Vec::new())]]);
        assert_eq!(told(&judged), Vec::<&Condition>::new());
    }

    #[test]
    fn grace_periods_that_come_and_go_are_not_told() {
        let judged = looks((0..60).map(|number| vec![period(number * 4 + 1, 0, vec![on_cpu(1, 30)])]));
        assert!(judged.iter().all(|judged| *judged == Judged::default()));
    }

    #[test]
    fn a_quiet_system_has_nothing_to_tell() {
        let judged = looks((0..60).map(|_| Vec::new()));
        assert!(judged.iter().all(|judged| *judged == Judged::default()));
    }

    #[test]
    fn below_half_the_timeout_there_is_a_message_and_no_finding() {
        let judged = looks((0..10).map(|age| vec![period(5, age, vec![on_cpu(1, 30)])]));
        assert_eq!(told(&judged), Vec::<&Condition>::new());
        let reports: Vec<_> = judged.iter().flat_map(|judged| &judged.reports).collect();
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].age_ns, reports[0].over), (Nanos(2 * SECOND), false));
    }

    #[test]
    fn a_short_timeout_does_not_make_seconds_suspicious() {
        let short = |age| SeenPeriod { warns_at: Some(Nanos(SECOND / 50)), ..period(5, age, Vec::new()) };
        assert_eq!(told(&looks((0..5).map(|age| vec![short(age)]))), Vec::<&Condition>::new());
        assert_eq!(told(&looks((0..8).map(|age| vec![short(age)]))).len(), 1);
    }

    #[test]
    fn where_the_kernel_never_warns_a_minute_is_too_long() {
        let silent = |age| SeenPeriod { warns_at: None, ..period(5, age, Vec::new()) };
        assert_eq!(told(&looks((0..61).map(|age| vec![silent(age)]))), Vec::<&Condition>::new());
        assert_eq!(told(&looks((0..62).map(|age| vec![silent(age)]))).len(), 1);
    }

    #[test]
    fn an_age_that_the_kernel_does_not_keep_or_that_stands_still_is_that_of_the_looks() {
        for age in [None, Some(Nanos(0))] {
            let seen = || SeenPeriod { age, ..period(5, 0, vec![on_cpu(0, 30)]) };
            assert_eq!(told(&looks((0..11).map(|_| vec![seen()]))), Vec::<&Condition>::new());
            assert_eq!(told(&looks((0..13).map(|_| vec![seen()]))).len(), 1);
        }
    }

    #[test]
    fn another_holder_of_the_same_one_is_told_and_the_same_holder_of_the_next_has_the_same_key() {
        let judged = looks((11..18).map(|age| vec![period(5, age, vec![on_cpu(u32::from(age > 14), 30)])]));
        assert_eq!(told(&judged).len(), 2);
        let next = looks((11..14).map(|age| vec![period(9, age, vec![on_cpu(0, 30)])]));
        assert_eq!(told(&next)[0].key, told(&judged)[0].key);
    }

    #[test]
    fn the_end_of_one_that_was_told_is_told() {
        let mut seen: Vec<_> = (11..14).map(|age| vec![period(5, age, vec![on_cpu(1, 30)])]).collect();
        seen.push(vec![period(9, 0, Vec::new())]);
        let judged = looks(seen);
        let [over] = &judged[3].reports[..] else { panic!("{judged:?}") };
        assert_eq!((over.seq, over.over, over.age_ns), (WideNumber(5), true, Nanos(13 * SECOND)));
    }

    #[test]
    fn where_nobody_is_waited_for_the_kthread_is() {
        let judged = looks((11..14).map(|age| vec![period(5, age, Vec::new())]));
        let told = told(&judged);
        assert_eq!(told[0].holders, []);
        assert!(told[0].help.as_ref().unwrap().contains("kthread"));
    }
}
