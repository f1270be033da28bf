//! Stalls of grace periods: who holds one, and whether the `idle=S/N/M` of a CPU contradicts itself.
//!
//! A stalled CPU is sampled after it hung for seconds, so the windows of a few instructions in which N and M legally
//! disagree are not what is seen. Before 4.16 ("idle=%03x/%llx/%d") M counted NMIs only and N was printed in hex; from 4.16
//! to 4.19 both are decimal, and later M has a `0x`. Only what means the same in each form that a line may have is judged.
//! S is printed cut to 12 or 16 bits and is not judged.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::finding::{RuleId, Severity};
use crate::units::CpuId;

/// The most CPUs and tasks that a report keeps; a machine with more that hang is told by these.
const MAX_HOLDERS: usize = 64;
/// M of ordinary code starts here; 1<<30 on 32-bit machines.
const ORDINARY: u64 = 1 << 30;

/// One report of a stall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stall {
    /// `rcu_preempt`; empty where the log begins behind the headline.
    pub flavour: String,
    /// The CPU that stalls reported it, in its tick.
    pub itself: bool,
    pub entries: Vec<Entry>,
    pub tasks: Vec<String>,
}

/// A CPU that holds up a grace period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub cpu: CpuId,
    pub words: Option<Words>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub text: String,
    nesting: i64,
    /// Absent where the form does not tell what M counts.
    nmi_nesting: Option<u64>,
    /// M below zero in whatever form.
    is_negative: bool,
}

impl Stall {
    /// `rcu: INFO: rcu_preempt self-detected stall on CPU`, `INFO: rcu_tasks detected stalls on tasks:`, or an entry.
    pub(super) fn begin(text: &str) -> Option<Self> {
        let rest = without_rcu(text);
        let Some(rest) = rest.strip_prefix("INFO: ") else {
            let entry = Entry::new(text)?;
            entry.words.as_ref()?;
            return Some(Self { entries: [entry].into(), ..Self::default() });
        };
        let flavour = rest.split_whitespace().next()?;
        let is_stall = flavour.starts_with("rcu") && rest.contains(" stall") && rest.contains("detected");
        if !is_stall {
            return None;
        }
        let mut stall = Self {
            flavour: flavour.trim_end_matches("_state").to_owned(),
            itself: rest.contains("self-detected") || rest.contains("detected stall on CPU"),
            ..Self::default()
        };
        // `detected stall on CPU 1` of 3.0, and `{ 1 P123 3-... }`.
        let cpu = rest.split_once("stall on CPU ").and_then(|(_, rest)| number(rest));
        stall.entries.extend(cpu.map(|cpu| Entry { cpu: CpuId(cpu), words: None }));
        if let Some((inside, _)) = rest.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
            stall.holders(inside);
        }
        Some(stall)
    }

    fn holders(&mut self, words: &str) {
        for word in words.split_whitespace() {
            if let Some(pid) =
                word.strip_prefix('P').filter(|pid| pid.starts_with(|c: char| c.is_ascii_digit()))
            {
                let pid = pid.split('/').next().unwrap_or(pid);
                self.task(format!("task {}", pid.trim_end_matches(':')));
            } else if let Some(cpu) = number(word) {
                self.entry(Entry { cpu: CpuId(cpu), words: None });
            }
        }
    }

    fn task(&mut self, task: String) {
        if self.tasks.len() < MAX_HOLDERS && !self.tasks.contains(&task) {
            self.tasks.push(task);
        }
    }

    fn entry(&mut self, entry: Entry) {
        if let Some(known) = self.entries.iter_mut().find(|known| known.cpu == entry.cpu) {
            known.words = known.words.take().or(entry.words);
        } else if self.entries.len() < MAX_HOLDERS {
            self.entries.push(entry);
        }
    }

    /// Adds what another headline or entry of the same report says.
    pub(super) fn merge(&mut self, other: Self) {
        other.entries.into_iter().for_each(|entry| self.entry(entry));
        other.tasks.into_iter().for_each(|task| self.task(task));
    }

    /// Takes a line of the report; whether it was one.
    pub(super) fn line(&mut self, text: &str) -> bool {
        let rest = without_rcu(text);
        if let Some((_, tasks)) =
            rest.split_once("Tasks blocked on level-").and_then(|(_, rest)| rest.split_once(':'))
        {
            self.holders(tasks);
        } else if let Some(entry) = Entry::new(text) {
            self.entry(entry);
        } else if self.flavour.starts_with("rcu_tasks") && rest.starts_with("task:") {
            // kernel/sched/core.c:sched_show_task, once for each task that holds it.
            let name = rest["task:".len()..].split_whitespace().next().unwrap_or("");
            let pid = rest.split_once("pid:").and_then(|(_, rest)| number(rest.trim_start()));
            self.task(pid.map_or_else(|| format!("task {name}"), |pid| format!("task {pid} ({name})")));
        } else if self.flavour.starts_with("rcu_tasks") && rest.starts_with('P') && rest.contains("nesting:")
        {
            self.holders(rest.split(' ').next().unwrap_or(""));
        } else {
            return rest.starts_with("(detected by")
                || rest.starts_with("(t=")
                || rest.contains("kthread starved");
        }
        true
    }

    /// The entry whose words contradict themselves, with the rule and the reason.
    pub(super) fn contradiction(&self) -> Option<(&Entry, RuleId, &'static str)> {
        self.entries.iter().find_map(|entry| {
            let (rule, why) = entry.words.as_ref()?.judge(self.itself)?;
            Some((entry, rule, why))
        })
    }

    /// Who holds the grace period, in words.
    pub(super) fn held_by(&self) -> (Severity, String) {
        let cpus = self.entries.iter().map(|entry| match &entry.words {
            Some(words) => format!("CPU {} (idle={})", entry.cpu, words.text),
            None => format!("CPU {}", entry.cpu),
        });
        let holders: Vec<String> = cpus.chain(self.tasks.iter().cloned()).collect();
        if holders.is_empty() {
            return (Severity::Info, "the grace period stalled; the kernel names no holder".to_owned());
        }
        (Severity::Warning, format!("the grace period stalled, held by {}", holders.join(", ")))
    }
}

impl Entry {
    /// `rcu: 3-...!: (4 ticks this GP) idle=f824/0/0x1 softirq=4614/4614 fqs=0`, in 3.x `3: (4 ticks this GP) idle=..`.
    fn new(text: &str) -> Option<Self> {
        let rest = without_rcu(text);
        let cpu = number(rest)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let rest = &rest[digits..];
        if !(rest.starts_with("-.")
            || rest.starts_with("-O")
            || rest.starts_with("-o")
            || rest.starts_with("-D")
            || rest.starts_with(": ("))
        {
            return None;
        }
        Some(Self { cpu: CpuId(cpu), words: Words::new(rest) })
    }
}

impl Words {
    fn new(text: &str) -> Option<Self> {
        let words = text.split_once("idle=")?.1.split_whitespace().next()?;
        let mut parts = words.split('/');
        let (_, nesting, nmi_nesting) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = nmi_nesting.strip_prefix("0x");
        let (nmi_nesting, is_negative) = match hex {
            Some(hex) => {
                let value = u64::from_str_radix(hex, 16).ok()?;
                // As the kernel keeps it: 64 bits, or 32 printed as such.
                (Some(value), value >= 1 << 63 || (1 << 31..1 << 32).contains(&value))
            }
            None => {
                let value: i64 = nmi_nesting.parse().ok()?;
                // 1<<62 is no count of NMIs: from 4.16 on.
                (u64::try_from(value).ok().filter(|value| *value >= ORDINARY), value < 0)
            }
        };
        // Before 4.16 a task's N was 140000000000000 in hex, which no decimal count is.
        let nesting =
            nesting.parse().ok().filter(|n: &i64| n.abs() < 1 << 32).or(hex.is_none().then_some(1))?;
        Some(Self { text: words.to_owned(), nesting, nmi_nesting, is_negative })
    }

    /// What contradicts what; `itself` where the CPU reported its own stall, in its tick.
    fn judge(&self, itself: bool) -> Option<(RuleId, &'static str)> {
        if self.nesting < 0 || self.is_negative {
            return Some((RuleId::NestingImbalance, "a nesting counter is below zero"));
        }
        let nmi_nesting = self.nmi_nesting?;
        if itself && nmi_nesting == 0 {
            Some((RuleId::UncountedContext, "M is 0 in the interrupt that found the stall"))
        } else if self.nesting > 0 && nmi_nesting < ORDINARY {
            Some((RuleId::StateDisagrees, "N says that a task runs, M that RCU was left"))
        } else if self.nesting == 0 && nmi_nesting >= ORDINARY {
            Some((RuleId::StateDisagrees, "N says that the CPU is idle, M that it is not"))
        } else {
            None
        }
    }
}

/// The prefix of RCU's own messages since 4.20, and the blanks that follow it.
fn without_rcu(text: &str) -> &str {
    text.trim_start().strip_prefix("rcu:").unwrap_or(text).trim_start()
}

fn number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(idle: &str, itself: bool) -> Option<RuleId> {
        let text = format!("rcu: \t3-...!: (4 ticks this GP) idle={idle} softirq=1/1 fqs=0");
        let stall = Stall { itself, ..Stall::begin(&text).unwrap() };
        stall.contradiction().map(|(entry, rule, _)| {
            assert_eq!(entry.cpu, CpuId(3));
            rule
        })
    }

    #[test]
    fn a_stall_whose_words_agree_is_no_break() {
        for (idle, itself) in [
            ("9e14/1/0x4000000000000000", false),
            ("1cc/1/0x4000000000000002", true),
            ("3a04/1/0x40000002", true),
            ("f824/0/0x1", true),
            ("00c/0/0x0", false),
        ] {
            assert_eq!(judge(idle, itself), None, "{idle}");
        }
    }

    #[test]
    fn a_stall_whose_words_contradict_each_other_is_one() {
        assert_eq!(judge("f824/0/0x0", true), Some(RuleId::UncountedContext));
        assert_eq!(judge("f824/-1/0x1", false), Some(RuleId::NestingImbalance));
        assert_eq!(judge("f824/1/0xfffffffffffffffe", false), Some(RuleId::NestingImbalance));
        assert_eq!(judge("f824/1/0x1", false), Some(RuleId::StateDisagrees));
        assert_eq!(judge("f824/0/0x4000000000000000", false), Some(RuleId::StateDisagrees));
    }

    #[test]
    fn of_the_older_forms_only_what_cannot_be_is_judged() {
        assert_eq!(judge("7db/2/0", true), None);
        assert_eq!(judge("7db/140000000000000/0", false), None);
        assert_eq!(judge("f9a/1/-1", false), Some(RuleId::NestingImbalance));
        assert_eq!(judge("f9a/1/4611686018427387904", false), None);
        assert_eq!(judge("f9a/0/4611686018427387904", false), Some(RuleId::StateDisagrees));
    }

    #[test]
    fn holders_are_read_in_every_form() {
        let held = |lines: &[&str]| {
            let mut stall = Stall::begin(lines[0]).unwrap();
            assert!(lines[1..].iter().all(|line| stall.line(line)), "{lines:?}");
            (stall.flavour.clone(), stall.held_by().1.rsplit("held by ").next().unwrap_or("").to_owned())
        };
        let of = |flavour: &str, holders: &str| (flavour.to_owned(), holders.to_owned());
        assert_eq!(
            held(&["INFO: rcu_sched_state detected stall on CPU 1 (t=6502 jiffies)"]),
            of("rcu_sched", "CPU 1")
        );
        assert_eq!(
            held(&[
                "INFO: rcu_preempt detected stalls on CPUs/tasks: { 1 P123} (detected by 0, t=1 jiffies)"
            ]),
            of("rcu_preempt", "CPU 1, task 123")
        );
        assert_eq!(
            held(&[
                "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 3-.... } 21 jiffies s: 1 root: 0x8/."
            ]),
            of("rcu_preempt", "CPU 3")
        );
        assert_eq!(
            held(&[
                "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P454/1:b..l P433",
                "rcu: \t(detected by 0, t=10537 jiffies, g=20753, q=159 ncpus=2)",
            ]),
            of("rcu_preempt", "task 454, task 433")
        );
        assert_eq!(
            held(&[
                "INFO: rcu_tasks detected stalls on tasks:",
                "task:kworker/0:1     state:R  running task     stack:0     pid:77    ppid:2",
            ]),
            of("rcu_tasks", "task 77 (kworker/0:1)")
        );
        assert_eq!(
            Stall::begin("rcu: INFO: rcu_sched self-detected stall on CPU").unwrap().held_by().0,
            Severity::Info
        );
        assert_eq!(
            Stall::begin("INFO: rcu_sched detected stalls on CPUs/tasks: { } (t=1)").unwrap().held_by().0,
            Severity::Info
        );
    }

    #[test]
    fn what_is_no_stall_begins_none() {
        for text in [
            "INFO: task x:1 blocked for more than 120 seconds.",
            "3-wire: (x)",
            "rcu: srcu_init: SRCU",
            "idle=poll",
        ] {
            assert_eq!(Stall::begin(text), None, "{text}");
        }
    }
}
