//! A break, as it is reported: the first of its kind in full, repeats as counts.

use alloc::borrow::{Cow, ToOwned as _};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::condition::Condition;
use crate::finding::{RuleId, Severity};
use crate::fold::Repeats;
use crate::model::generation::{Base, Context};
use crate::pipeline::Finding;
use crate::probe::{Handler, Mechanism, Point};
use crate::rules::Hit;
use crate::rules::guard::{Guard, Outcome};
use crate::units::{Address, Counter, Nanos, PreemptCount, StateWord, WideNumber};
use crate::vantage::Vantage;

pub use crate::report::witness::{Holder, Source, StackFrame, TaskReport};

/// The first break of a kind, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FindingReport {
    /// Number of this kind of break in this stream, from 1; [`Repeat`] and the summary refer to it.
    pub id: u32,
    /// The id of the rule that fired.
    pub rule: RuleId,
    /// The rule's name, as `rcu-watch explain` lists it.
    pub name: Cow<'static, str>,
    /// How bad this break is; a rule may fire with several severities.
    pub severity: Severity,
    /// What about the state made the rule fire.
    pub because: String,
    /// The function or tracepoint that was hit, or that a log names.
    pub function: String,
    /// Absent, as all that only a probe can tell, in what was parsed from a kernel log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// How the probe was attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Whose handlers are on the function, ours left out.
    pub handlers: Vec<Handler>,
    /// What the probe read; absent in what was parsed from a kernel log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateReport>,
    /// Which of the guards would have protected a handler here; empty where the question has no meaning.
    pub guards: Vec<GuardVerdict>,
    /// The task that was current; absent where a log does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskReport>,
    /// Innermost first; empty where none was taken.
    pub stack: Vec<StackFrame>,
    /// Who holds up what does not come to its end; absent where that has no meaning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// What to do about this one; the rule's page says what to do in general.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Who says so; absent where a probe does.
    #[serde(default, skip_serializing_if = "Source::is_probe")]
    pub source: Source,
    /// The CPU's own number of the snapshot, lost ones counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seq: Option<WideNumber>,
    /// Equal for the same rule, function and handlers on any kernel and in any run.
    pub fingerprint: String,
    /// Sent by `--self-test`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub synthetic: bool,
    /// In the baseline: it does not count. The stream fills it in.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub known: bool,
}

/// The words as read, decoded, and the state of the code that the probe saw or interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateReport {
    /// S, RCU's state word of the CPU.
    #[serde(rename = "S")]
    pub state: StateWord,
    /// N, which counts tasks (up to 4.15 irqs too).
    #[serde(rename = "N")]
    pub nesting: Counter,
    /// M, which counts irqs and NMIs (up to 4.15 NMIs only).
    #[serde(rename = "M")]
    pub nmi_nesting: NmiNestingReport,
    /// P, `preempt_count`.
    #[serde(rename = "P")]
    pub preempt_count: PreemptCount,
    /// W of the words as read.
    pub watching: bool,
    /// Whether the probe read the words of the code it is about, or of an exception on top of it.
    pub vantage: VantageReport,
    /// Whether RCU watched the code in question: W under `direct`, what M tells under `exception`.
    pub underlying_watching: bool,
    /// `kernel`, `idle`, `user`, `guest`; absent before 6.0, where the word does not hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// P counts a hard irq.
    pub hardirq: bool,
    /// P counts an NMI, or an exception that counts as one.
    pub nmi: bool,
}

/// From where the words were read, without the kind of the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum VantageReport {
    /// In the context that the probe is about.
    Direct,
    /// In a handler that the probe's context was interrupted for.
    Exception,
    /// Either of the two.
    Ambiguous,
}

impl VantageReport {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl From<Vantage> for VantageReport {
    fn from(vantage: Vantage) -> Self {
        match vantage {
            Vantage::Direct => Self::Direct,
            Vantage::Exception(_) => Self::Exception,
            Vantage::Ambiguous => Self::Ambiguous,
        }
    }
}

/// M as read, and taken apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NmiNestingReport {
    /// As read, signed.
    pub raw: Counter,
    /// `eqs` with depth 0 at M=0.
    pub base: Base,
    /// Counted contexts on top of the base.
    pub depth: i64,
}

/// What one guard would have done for a handler at this break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuardVerdict {
    /// What the handler would have called or asked first.
    pub guard: Guard,
    /// Whether a handler behind this guard would have run with RCU watching, or been skipped.
    pub protects: bool,
    /// Why it protects or does not, in half a sentence.
    pub because: Cow<'static, str>,
}

/// More of a finding that was reported before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repeat {
    /// The finding that it repeats.
    pub id: u32,
    /// That finding's rule.
    pub rule: RuleId,
    /// That finding's function.
    pub function: String,
    /// Since the finding or the last repeat.
    pub count: u64,
    /// When the latest of them happened, `CLOCK_MONOTONIC`.
    pub last_ts_ns: Nanos,
}

impl FindingReport {
    /// Writes a finding out; `symbolize` names an address: `function+0x1c`.
    #[must_use]
    pub fn new(finding: &Finding<'_>, mut symbolize: impl FnMut(Address) -> Option<String>) -> Self {
        let hit = &finding.hit;
        let (frames, _) = hit.snapshot.stack.as_chunks();
        Self {
            id: finding.id,
            rule: finding.verdict.rule,
            name: finding.verdict.rule.name().into(),
            severity: finding.verdict.severity,
            because: finding.verdict.because.to_owned(),
            function: hit.probe.symbol.clone(),
            point: Some(hit.probe.point),
            mechanism: Some(hit.probe.mechanism),
            handlers: hit.foreign_handlers().cloned().collect(),
            state: Some(StateReport::new(hit)),
            guards: finding.guards.iter().map(GuardVerdict::new).collect(),
            task: Some(TaskReport::new(&hit.snapshot.task)),
            stack: without_our_own(
                interrupted(hit)
                    .chain(frames.iter().map(|raw| Address(u64::from_le_bytes(*raw))))
                    .map(|address| StackFrame { address: Some(address), symbol: symbolize(address) })
                    .collect(),
                hit.probe.mechanism,
            ),
            holders: Vec::new(),
            help: None,
            source: Source::Probe,
            cpu_seq: Some(WideNumber(finding.cpu_seq)),
            fingerprint: finding.fingerprint.to_owned(),
            synthetic: hit.snapshot.synthetic,
            known: false,
        }
    }

    /// Writes out what a look found, under the number and the fingerprint that it was folded to.
    #[must_use]
    pub fn of_condition(condition: &Condition, id: u32, fingerprint: String) -> Self {
        let Condition {
            rule, severity, because, function, handlers, holders, help, source, task, stack, ..
        } = condition.clone();
        Self {
            id,
            rule,
            name: rule.name().into(),
            severity,
            because,
            function,
            point: None,
            mechanism: None,
            handlers,
            state: None,
            guards: Vec::new(),
            task,
            stack,
            holders,
            help,
            source,
            cpu_seq: None,
            fingerprint,
            synthetic: false,
            known: false,
        }
    }
}

/// Drops the innermost frames that are the probe itself: its programs, and the trampoline that called them, by
/// whatever name kallsyms has for that page.
fn without_our_own(mut stack: Vec<StackFrame>, mechanism: Mechanism) -> Vec<StackFrame> {
    let is_program = |symbol: &str| symbol.starts_with("bpf_prog_") && symbol.contains("_rcuw_");
    match stack.iter().position(|frame| frame.symbol.as_deref().is_some_and(is_program)) {
        Some(program) => {
            let trampoline = usize::from(matches!(mechanism, Mechanism::Fentry | Mechanism::Fexit));
            stack.drain(..(program + 1 + trampoline).min(stack.len()));
            stack
        }
        None => stack,
    }
}

/// Where the code was that a watchpoint or a sample is about: no stack is taken there, but these are known.
fn interrupted(hit: &Hit<'_>) -> impl Iterator<Item = Address> {
    let tells = hit.probe.mechanism == Mechanism::Watchpoint || hit.probe.is_sample(hit.snapshot);
    let regs = hit.snapshot.regs.filter(|regs| tells && !regs.user_mode);
    let caller = hit.snapshot.caller.filter(|_| hit.probe.mechanism == Mechanism::Watchpoint);
    regs.map(|regs| regs.ip).into_iter().chain(caller)
}

impl StateReport {
    /// Writes out what a hit read, and what it makes of it.
    #[must_use]
    pub fn new(hit: &Hit<'_>) -> Self {
        let rcu = &hit.snapshot.rcu;
        Self {
            state: rcu.state,
            nesting: rcu.nesting,
            nmi_nesting: NmiNestingReport { raw: rcu.nmi_nesting, base: hit.base, depth: hit.depth },
            preempt_count: rcu.preempt_count,
            watching: hit.watching,
            vantage: hit.vantage.into(),
            underlying_watching: hit.under_watching,
            context: hit.context,
            hardirq: hit.hardirq_depth > 0,
            nmi: hit.nmi_depth > 0,
        }
    }
}

impl GuardVerdict {
    /// Writes out what became of a handler behind a guard.
    #[must_use]
    pub const fn new(outcome: &Outcome) -> Self {
        Self { guard: outcome.guard, protects: outcome.protects, because: Cow::Borrowed(outcome.because) }
    }
}

impl Repeat {
    /// Writes repeats out.
    #[must_use]
    pub fn new(repeats: Repeats) -> Self {
        Self {
            id: repeats.id,
            rule: repeats.rule,
            function: repeats.function,
            count: repeats.count,
            last_ts_ns: repeats.last_ts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::encode;
    use crate::model::generation::Generation;
    use crate::model::kernel::{KernelModel, PreemptLayout};
    use crate::pipeline::{Listener, Pipeline};
    use crate::probe::{HandlerKind, Probe, Reliance};
    use crate::snapshot::Task;
    use crate::snapshot::{RcuState, Snapshot};

    #[derive(Default)]
    struct Reports(Vec<FindingReport>);

    impl Listener for Reports {
        fn finding(&mut self, finding: &Finding<'_>) {
            self.0.push(FindingReport::new(finding, |at| (at.0 == 1).then(|| "do_idle+0x1".to_owned())));
        }
    }

    #[test]
    fn a_finding_says_whose_handler_ran_where_and_in_what_state() {
        let handler = |name: &str, ours| Handler {
            kind: HandlerKind::Livepatch,
            name: name.to_owned(),
            event: None,
            program: None,
            reliance: Reliance::Relies,
            ours,
            owner: None,
        };
        let probe = Probe {
            point: Point::PatchedFunction,
            mechanism: Mechanism::KprobeFtrace,
            symbol: "arch_cpu_idle".to_owned(),
            handlers: vec![handler("fix_idle", false), handler("rcuw_x", true)],
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        let stack = [1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
        let snapshot = Snapshot {
            rcu: RcuState { state: StateWord(9), ..RcuState::default() },
            task: Task { comm: *b"swapper/0\0\0\0\0\0\0\0", ..Task::default() },
            stack: &stack,
            ..Snapshot::default()
        };
        let mut pipeline =
            Pipeline::new(KernelModel::new(Generation::G4, PreemptLayout::FOUR_BYTES), vec![probe]);
        let mut reports = Reports::default();
        pipeline.push(&encode(&snapshot), &mut reports);
        let json = serde_json::to_value(&reports.0[0]).unwrap();
        assert_eq!(json["rule"], "RW001");
        assert_eq!(json["handlers"].as_array().unwrap().len(), 1);
        assert_eq!(json["handlers"][0]["name"], "fix_idle");
        assert_eq!(json["state"]["S"], "0x9");
        assert_eq!(json["state"]["M"]["base"], "eqs");
        assert_eq!(json["state"]["context"], "idle");
        assert_eq!(json["state"]["underlying_watching"], false);
        assert_eq!(json["task"]["comm"], "swapper/0");
        assert_eq!(json["stack"][0]["symbol"], "do_idle+0x1");
        assert_eq!(json["stack"][1].get("symbol"), None);
        assert_eq!(json["guards"].as_array().unwrap().len(), 5);
        assert_eq!(json.get("synthetic"), None);
    }

    #[test]
    fn our_own_frames_are_no_part_of_the_story() {
        let stack = |names: &[&str]| {
            names
                .iter()
                .map(|&name| StackFrame { address: Some(Address(1)), symbol: Some(name.to_owned()) })
                .collect()
        };
        let names =
            |stack: Vec<StackFrame>| stack.into_iter().filter_map(|frame| frame.symbol).collect::<Vec<_>>();
        let story = ["arch_cpu_idle+0x5", "do_idle+0x1"];
        let programs = ["bpf_prog_1_function_by_fentry+0x5", "bpf_prog_2_rcuw_fentry_00+0x1"];
        let without = |stack: Vec<StackFrame>, mechanism| names(without_our_own(stack, mechanism));
        let by_fentry = stack(&[&programs[..], &["bpf_trampoline_3+0x9"], &story].concat());
        assert_eq!(without(by_fentry, Mechanism::Fentry), story);
        assert_eq!(without(stack(&programs), Mechanism::Fentry), [""; 0]);
        assert_eq!(without(stack(&[&programs[..], &story].concat()), Mechanism::RawTracepoint), story);
        assert_eq!(without(stack(&story), Mechanism::KprobeFtrace), story);
        let others = ["bpf_prog_9_theirs+0x1", "arch_cpu_idle+0x5"];
        assert_eq!(without(stack(&others), Mechanism::Fentry), others);
    }
}
