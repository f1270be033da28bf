//! What must be true of a scenario's record, judged one statement at a time.
//!
//! A catalog says `Expect::of("watch", Check::NoFinding)`. What a run said is read once and as the types that it was
//! written by, so a rule or a point that does not exist cannot be asked for.

mod books;
mod evidence;
mod finding;
mod output;
mod told;
mod witness;

use rcu_watch_core::probe::Point;
use rcu_watch_core::report::audit::{AuditVerdict, CheckAnswer};
use rcu_watch_core::{RuleId, Severity};
use xtask::wire::Exit;

pub(crate) use evidence::Evidence;
pub(crate) use finding::Finding;

/// A statement about what a scenario left behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    /// Label of a command, or of a file that was read.
    pub subject: &'static str,
    pub check: Check,
    /// On this kernel only.
    pub only_on: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// The command ended with this code.
    Exit(i32),
    /// The command ended with one of these codes.
    ExitIn(&'static [i32]),
    /// It ended with code 0, or with 3 for nothing but runs that the kernel's recursion guard skipped: on a
    /// preemptible kernel a program can be preempted, and the next run of it on that CPU is then skipped
    /// (kernel/bpf/trampoline.c, `__bpf_prog_enter_recur`). That is luck, and rightly reported.
    Unbroken,
    /// This signal ended the command.
    Killed(i32),
    /// Its standard output is a whole stream whose books balance.
    Stream,
    /// At least one such finding.
    Finding(Finding),
    /// No finding at all.
    NoFinding,
    /// No finding of this severity.
    NoneOf(Severity),
    /// No finding of this rule.
    NoneOfRule(RuleId),
    /// No finding on another function than these.
    OnlyOn(&'static [&'static str]),
    /// The first that an audit said of the function is this.
    Audited { function: &'static str, verdict: AuditVerdict },
    /// The first that `check` said of the function is this.
    Checked { function: &'static str, answer: CheckAnswer },
    /// Exactly one finding, and a synthetic one.
    OnlySynthetic,
    /// The point was hit at least so often, all CPUs together.
    Hits { point: Point, at_least: u64 },
    /// So many probes sit on these functions, and on each CPU all were hit as often, give or take what is open at
    /// either end; all CPUs together at least so often.
    Balance { functions: &'static [&'static str], probes: usize, at_least: u64 },
    /// The summary says that this rule was judged.
    Judged(RuleId),
    /// The layout was calibrated.
    Calibrated,
    /// The livepatch was loaded and unloaded so often, with both of its transitions each time.
    Livepatches { patch: &'static str, times: usize },
    /// Of every livepatch it told what the kernel's log, which that command printed, has.
    LivepatchesAsIn { log: &'static str },
    /// Its only findings are of transitions that stalled, and in the kernel's log, which that command printed, they took
    /// so long.
    OnlyStalls { log: &'static str, seconds: f64 },
    /// The runs that were skipped are as many as that command, `bpftool prog show`, printed, by program.
    MissesAsIn { bpftool: &'static str },
    /// Watchpoints saw at least so many writes to S, and of each kind as many ways in as out.
    Transitions { at_least: u64 },
    /// So many records came through, and those that did not are said to be lost.
    Delivered { at_least: u64 },
    /// It never had more memory resident.
    Memory { at_most_mib: u64 },
    /// Records were lost, and both the stream and the summary say so.
    Loss,
    /// It is the replay of what the other recorded: the same records, findings, books and verdict.
    Replays { live: &'static str },
    /// One line of its standard output or error has all of these.
    Line(&'static [&'static str]),
    /// Exactly one line of its standard output has all of these.
    OneLine(&'static [&'static str]),
    /// No line of its standard output or error has all of these.
    NoLine(&'static [&'static str]),
    /// Both commands printed the same.
    SameOutput { other: &'static str },
    /// At its start it saw another instance.
    OtherInstance,
    /// A finding of this rule and severity, whatever it is about.
    Fired { rule: RuleId, severity: Severity },
    /// The file holds none of these.
    Without(&'static [&'static str]),
    /// The file holds this.
    With(&'static str),
    /// Both files are the same.
    Same { other: &'static str },
}

/// What is wrong, if something is.
type Verdict = Result<(), String>;

impl Expect {
    pub(crate) const fn of(subject: &'static str, check: Check) -> Self {
        Self { subject, check, only_on: None }
    }

    pub(crate) const fn on(self, kernel: &'static str) -> Self {
        Self { only_on: Some(kernel), ..self }
    }

    pub(crate) fn judge(&self, evidence: &Evidence, kernel: &str) -> Verdict {
        let Self { subject, check, only_on } = *self;
        if only_on.is_some_and(|only| only != kernel) {
            return Ok(());
        }
        let stream = || evidence.stream(subject);
        let verdict = match check {
            Check::Exit(code) => output::exit(evidence, subject, Exit::Code(code)),
            Check::ExitIn(codes) => output::exit_in(evidence, subject, codes),
            Check::Unbroken => output::unbroken(evidence, subject),
            Check::Killed(signal) => output::exit(evidence, subject, Exit::Signal(signal)),
            Check::Stream => stream().and_then(|stream| stream.balance()),
            Check::Finding(wanted) => stream().and_then(|stream| wanted.is_in(&stream)),
            Check::NoFinding => stream().and_then(|stream| finding::none(&stream, |_| true)),
            Check::NoneOf(severity) => {
                stream().and_then(|stream| finding::none(&stream, |found| found.severity == severity))
            }
            Check::NoneOfRule(rule) => {
                stream().and_then(|stream| finding::none(&stream, |found| found.rule == rule))
            }
            Check::OnlyOn(functions) => stream().and_then(|stream| {
                finding::none(&stream, |found| !functions.contains(&found.function.as_str()))
            }),
            Check::Audited { function, verdict } => {
                stream().and_then(|stream| told::audited(&stream, function, verdict))
            }
            Check::Checked { function, answer } => {
                stream().and_then(|stream| told::checked(&stream, function, answer))
            }
            Check::OnlySynthetic => stream().and_then(|stream| finding::only_synthetic(&stream)),
            Check::Hits { point, at_least } => {
                stream().and_then(|stream| books::hits(&stream, point, at_least))
            }
            Check::Balance { functions, probes, at_least } => {
                stream().and_then(|stream| books::balance(&stream, functions, probes, at_least))
            }
            Check::Judged(rule) => stream().and_then(|stream| told::judged(&stream, rule)),
            Check::Calibrated => stream().and_then(|stream| told::calibrated(&stream)),
            Check::Livepatches { patch, times } => {
                stream().and_then(|stream| told::livepatches(&stream, patch, times))
            }
            Check::LivepatchesAsIn { log } => {
                evidence.printed(log).and_then(|log| witness::livepatches(&*stream()?, &log))
            }
            Check::OnlyStalls { log, seconds } => {
                evidence.printed(log).and_then(|log| witness::only_stalls(&*stream()?, &log, seconds))
            }
            Check::MissesAsIn { bpftool } => {
                evidence.printed(bpftool).and_then(|bpftool| witness::misses(&*stream()?, &bpftool))
            }
            Check::Transitions { at_least } => {
                stream().and_then(|stream| books::transitions(&stream, at_least))
            }
            Check::Delivered { at_least } => stream().and_then(|stream| books::delivered(&stream, at_least)),
            Check::Memory { at_most_mib } => stream().and_then(|stream| books::memory(&stream, at_most_mib)),
            Check::Loss => stream().and_then(|stream| books::loss(&stream)),
            Check::Replays { live } => {
                evidence.stream(live).and_then(|live| told::replays(&*stream()?, &live))
            }
            Check::Line(has) => output::line(evidence, subject, has),
            Check::OneLine(has) => output::one_line(evidence, subject, has),
            Check::NoLine(has) => output::no_line(evidence, subject, has),
            Check::SameOutput { other } => output::same_output(evidence, subject, other),
            Check::OtherInstance => stream().and_then(|stream| told::other_instance(&stream)),
            Check::Fired { rule, severity } => {
                stream().and_then(|stream| finding::fired(&stream, rule, severity))
            }
            Check::Without(none_of) => output::without(evidence, subject, none_of),
            Check::With(text) => output::with(evidence, subject, text),
            Check::Same { other } => output::same(evidence, subject, other),
        };
        verdict.map_err(|why| format!("{subject}: {why}"))
    }

    /// Whether it is met on a kernel only if the rule fires.
    pub(crate) fn fires(&self, rule: RuleId, kernel: &str) -> bool {
        let of_rule = match self.check {
            Check::Finding(finding) => finding.rule == rule,
            Check::Fired { rule: fired, .. } => fired == rule,
            _ => false,
        };
        of_rule && self.only_on.is_none_or(|only| only == kernel)
    }
}

fn ok_or(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod tests {
    use super::super::super::console::ScenarioRecord;
    use super::*;

    #[test]
    fn what_did_not_run_meets_nothing() {
        let record = ScenarioRecord::default();
        let all = [
            Expect::of("watch", Check::Exit(0)),
            Expect::of("watch", Check::NoFinding),
            Expect::of("sites", Check::Without(&["x"])),
            Expect::of("sites", Check::Same { other: "sites" }),
        ];
        assert!(all.iter().all(|expect| expect.judge(&Evidence::of(&record), "6.1").is_err()));
    }

    #[test]
    fn what_is_said_of_one_kernel_is_judged_on_no_other() {
        let record = ScenarioRecord::default();
        let expect = Expect::of("watch", Check::Fired { rule: RuleId::NmiEdge, severity: Severity::Error });
        let (here, elsewhere) = (expect.on("6.1"), expect.on("sid"));
        assert!(here.judge(&Evidence::of(&record), "6.1").is_err() && here.fires(RuleId::NmiEdge, "6.1"));
        assert!(elsewhere.judge(&Evidence::of(&record), "6.1").is_ok());
        assert!(!elsewhere.fires(RuleId::NmiEdge, "6.1") && expect.fires(RuleId::NmiEdge, "6.1"));
        assert!(!expect.fires(RuleId::UnknownWriter, "6.1"));
    }
}
