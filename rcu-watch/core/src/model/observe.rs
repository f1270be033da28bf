//! What probes would see in a state of the model, and whether the rules say what they must.
//!
//! Wherever code can be hooked, every kind of probe that can sit there takes its snapshot, and each handler
//! that was reached by an exception takes one too. The verdicts are held against the truth, which the model
//! knows: nothing above info on a legal state, RW001 and RW015 on a function that runs in an EQS, and
//! `underlying` gives back the words of the interrupted code.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::explore::{Explorer, State};
use super::kernel::{KernelModel, TextMap, TextRange};
use super::step::{Site, Step, Words};
use super::transition::{IRQ, IST, NMI};
use super::variant::Variant;
use crate::finding::{RuleId, Severity, Verdict};
use crate::probe::{Handler, HandlerKind, Mechanism, Point, Probe, Reliance};
use crate::rules::{Verdicts, judge};
use crate::snapshot::{Regs, Snapshot, Task};
use crate::units::Address;
use crate::vantage::{Entry, Vantage, underlying};

/// Addresses of the model's kernel text.
const WRITER: u64 = 0x1100;
const NOINSTR: u64 = 0x2100;
const VICTIM: u64 = 0x4100;
const ORDINARY: u64 = 0x8000;

/// One probe's view of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub kernel: &'a KernelModel,
    pub probe: &'a Probe,
    pub snapshot: Snapshot<'static>,
    /// The words of the code that the snapshot is about.
    pub truth: Words,
    /// The rule that must fire; nothing above info may, where there is none.
    pub expected: Option<(RuleId, Severity)>,
}

/// One probe of each kind.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    kernel: KernelModel,
    /// The same kernel, where the way out of an EQS calls nothing that can be hooked.
    quiet: KernelModel,
    function: Probe,
    relied_on: Probe,
    patched: Probe,
    off_site: Probe,
    internal: Probe,
    checkpoint: Probe,
    irq: Probe,
    nmi: Probe,
    nmi_edge: Probe,
    ist: Probe,
    watchpoint: Probe,
    sampler: Probe,
}

impl Observers {
    #[must_use]
    pub(crate) fn new(variant: &Variant) -> Self {
        let mut kernel = variant.kernel();
        let range = |start, end| TextRange { start: Address(start), end: Address(end) };
        kernel.text = TextMap {
            uninstrumentable: vec![range(0x1000, 0x3000)],
            known_victims: vec![range(0x4000, 0x5000)],
            writers: vec![range(0x1000, 0x2000)],
        };
        let quiet = KernelModel { eqs_exit_calls_out: false, ..kernel.clone() };
        let probe = |point, mechanism| Probe {
            point,
            mechanism,
            symbol: "modelled".to_owned(),
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        let handled = |point, kind| Probe {
            handlers: vec![Handler {
                kind,
                name: "theirs".to_owned(),
                event: None,
                program: None,
                reliance: Reliance::Relies,
                ours: false,
                owner: None,
            }],
            ..probe(point, Mechanism::KprobeFtrace)
        };
        Self {
            kernel,
            quiet,
            function: probe(Point::IdleVictim, Mechanism::Fentry),
            relied_on: handled(Point::FtraceFunction, HandlerKind::Bpf),
            patched: handled(Point::PatchedFunction, HandlerKind::Livepatch),
            off_site: probe(Point::IdleVictim, Mechanism::KprobeInt3),
            internal: Probe { is_rcu_internal: true, ..probe(Point::EqsExit, Mechanism::Fentry) },
            checkpoint: probe(Point::Checkpoint, Mechanism::RawTracepoint),
            irq: probe(Point::IrqEnter, Mechanism::Fentry),
            nmi: probe(Point::NmiEnter, Mechanism::RawTracepoint),
            nmi_edge: probe(Point::NmiEnter, Mechanism::KprobeFtrace),
            ist: probe(Point::IstEnter, Mechanism::Fentry),
            watchpoint: probe(Point::EqsEnter, Mechanism::Watchpoint),
            sampler: probe(Point::NmiEnter, Mechanism::Fentry),
        }
    }

    /// Shows every view that there is of `state`.
    pub(crate) fn views<'s>(
        &'s self,
        explorer: &Explorer<'_>,
        state: &State,
        mut show: impl FnMut(View<'s>),
    ) {
        let Some(Step::Hookable(site)) = explorer.next_step(state) else {
            return;
        };
        let here = Scene { explorer, state };
        let mut direct = |kernel, probe, expected| {
            let regs = Regs {
                ip: Address(if site == Site::Victim { VICTIM } else { ORDINARY }),
                rflags: interrupt_flag(&state.words),
                ..Regs::default()
            };
            let snapshot = here.snapshot(Some(regs));
            show(View { kernel, probe, snapshot, truth: state.words, expected });
        };
        match site {
            Site::RcuInternal => direct(&self.kernel, &self.internal, None),
            Site::NmiEdge => direct(&self.kernel, &self.nmi_edge, None),
            Site::IstEdge => direct(&self.kernel, &self.ist, None),
            Site::Victim => {
                let exposed = Some((RuleId::ExposedFunction, Severity::Warning));
                direct(&self.kernel, &self.function, exposed);
                direct(&self.kernel, &self.off_site, exposed);
                let unwatched = Some((RuleId::HandlerUnwatched, Severity::Error));
                direct(&self.kernel, &self.relied_on, unwatched);
                direct(&self.kernel, &self.patched, unwatched);
            }
            Site::Callout => {
                direct(&self.kernel, &self.relied_on, None);
                direct(&self.quiet, &self.internal, None);
            }
            Site::Anything
            | Site::ContextSwitch
            | Site::IrqTold
            | Site::IrqBody
            | Site::Softirq
            | Site::NmiBody
            | Site::IstBody => {
                for probe in [&self.function, &self.relied_on, &self.patched, &self.off_site] {
                    direct(&self.quiet, probe, None);
                }
                match site {
                    Site::ContextSwitch => direct(&self.quiet, &self.checkpoint, None),
                    Site::IrqTold => direct(&self.quiet, &self.irq, None),
                    Site::NmiBody => direct(&self.quiet, &self.nmi, None),
                    Site::IstBody => direct(&self.quiet, &self.ist, None),
                    _ => {}
                }
            }
        }
        self.behind_exceptions(here, site, show);
    }

    /// Views of the code that the top program interrupted.
    fn behind_exceptions<'s>(&'s self, here: Scene<'_>, site: Site, mut show: impl FnMut(View<'s>)) {
        let Scene { explorer, state } = here;
        let [.., below, top] = state.frames() else {
            return;
        };
        let last = explorer.step_before(below);
        let next = explorer.step_of(below);
        let regs = |ip| Regs { ip: Address(ip), rflags: interrupt_flag(&top.before), ..Regs::default() };
        let mut exception = |probe, ip, expected| {
            let snapshot = here.snapshot(Some(regs(ip)));
            show(View { kernel: &self.kernel, probe, snapshot, truth: top.before, expected });
        };
        if site == Site::NmiBody && top.program == NMI {
            let ip = match next {
                Some(Step::Hookable(Site::Victim | Site::RcuInternal | Site::NmiEdge | Site::IstEdge)) => {
                    VICTIM
                }
                Some(Step::Hookable(_)) => ORDINARY,
                _ => NOINSTR,
            };
            exception(&self.sampler, ip, None);
        }
        if site == Site::IstBody && top.program == IST {
            match last {
                Some(Step::AddState(n)) if n != 0 => exception(&self.watchpoint, WRITER, None),
                Some(Step::StrangeState(_)) => exception(&self.watchpoint, ORDINARY, None),
                _ => {}
            }
            match next {
                // int3 cannot sit on RCU's own functions once they are noinstr.
                Some(Step::Hookable(Site::Victim)) => {
                    exception(&self.off_site, VICTIM, Some((RuleId::ExposedFunction, Severity::Info)));
                }
                Some(Step::Hookable(Site::Anything)) => exception(&self.off_site, ORDINARY, None),
                _ => {}
            }
        }
    }
}

/// A state, and who knows what its programs are.
#[derive(Clone, Copy)]
struct Scene<'a> {
    explorer: &'a Explorer<'a>,
    state: &'a State,
}

impl Scene<'_> {
    fn snapshot(&self, regs: Option<Regs>) -> Snapshot<'static> {
        let pid = u32::from(!self.explorer.programs().activity.is_idle_task());
        Snapshot {
            rcu: self.state.words.to_rcu(),
            task: Task { pid, tgid: pid, comm: [0; 16] },
            regs,
            ..Snapshot::default()
        }
    }
}

fn interrupt_flag(words: &Words) -> u64 {
    u64::from(words.interrupts_on) << 9
}

/// How often each rule fired, by severity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub views: u64,
    counts: [[u64; Severity::ALL.len()]; RuleId::ALL.len()],
}

impl Tally {
    /// Adds the counts of another part of the space.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.views += other.views;
        for (mine, theirs) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *mine += theirs;
        }
    }

    fn add(&mut self, verdict: &Verdict) {
        self.counts[verdict.rule as usize][verdict.severity as usize] += 1;
    }

    /// Rules that fired, with severity and count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RuleId, Severity, u64)> {
        RuleId::ALL.iter().flat_map(move |&rule| {
            Severity::ALL
                .iter()
                .map(move |&severity| (rule, severity, self.counts[rule as usize][severity as usize]))
                .filter(|&(.., count)| count > 0)
        })
    }
}

/// Holds everything that can be said of a legal state against the truth.
///
/// # Errors
/// The first thing that is not so.
pub(crate) fn check_legal(
    observers: &Observers,
    explorer: &Explorer<'_>,
    state: &State,
    tally: &mut Tally,
) -> Result<(), String> {
    explorer.invariants(&state.words)?;
    let mut wrong = None;
    let mut verdicts = Verdicts::default();
    observers.views(explorer, state, |view| {
        tally.views += 1;
        judge(view.kernel, view.probe, &view.snapshot, &mut verdicts);
        verdicts.iter().for_each(|verdict| tally.add(verdict));
        if wrong.is_none() {
            wrong = wrong_verdict(&view, &verdicts).or_else(|| wrong_underlying(&view));
        }
    });
    if let Some(wrong) = wrong.or_else(|| wrong_irq(observers, explorer, state)) {
        return Err(wrong);
    }
    Ok(())
}

fn wrong_verdict(view: &View<'_>, verdicts: &Verdicts) -> Option<String> {
    let probe = || format!("{:?} by {:?}", view.probe.point, view.probe.mechanism);
    if let Some((rule, severity)) = view.expected
        && verdicts.get(rule).is_none_or(|verdict| verdict.severity != severity)
    {
        return Some(format!("{rule} did not fire as {severity} at {}", probe()));
    }
    verdicts
        .iter()
        .find(|verdict| {
            verdict.severity > Severity::Info && Some((verdict.rule, verdict.severity)) != view.expected
        })
        .map(|verdict| format!("{} fired at {}: {}", verdict.rule, probe(), verdict.because))
}

/// Compares what `underlying` gives back with the words that the model has.
fn wrong_underlying(view: &View<'_>) -> Option<String> {
    let vantage = Vantage::of(view.kernel, view.probe, &view.snapshot);
    let under = underlying(view.kernel, &view.snapshot, vantage);
    let generation = view.kernel.generation;
    let truth = view.truth.to_rcu();
    let same_watching = generation.watches(under.rcu.state) == generation.watches(truth.state);
    let right = match (view.probe.mechanism, vantage) {
        (_, Vantage::Ambiguous) => true, // it says that it does not know
        // A jump inside an NMI looks like int3: the words may be taken for those of a shallower NMI.
        (Mechanism::KprobeInt3, Vantage::Exception(_)) => same_watching,
        _ => {
            is_same(view.kernel, &under.rcu, &view.truth)
                && under.interrupts_on == Some(view.truth.interrupts_on)
        }
    };
    (!right).then_some(format!(
        "{vantage:?} of {:?} gives {:?} for {:?}",
        view.probe.mechanism, under.rcu, view.truth
    ))
}

/// The body of an irq that came in from the kernel gives back what it interrupted.
fn wrong_irq(observers: &Observers, explorer: &Explorer<'_>, state: &State) -> Option<String> {
    let top = state.top();
    if top.program != IRQ || explorer.next_step(state) != Some(Step::Hookable(Site::IrqBody)) {
        return None;
    }
    let here = Scene { explorer, state };
    let kernel = &observers.kernel;
    let under = underlying(kernel, &here.snapshot(None), Vantage::Exception(Entry::Irq));
    (!is_same(kernel, &under.rcu, &top.before))
        .then(|| format!("an irq's body gives {:?} for {:?}", under.rcu, top.before))
}

/// Equal but for the part of S that only counts.
fn is_same(kernel: &KernelModel, found: &crate::snapshot::RcuState, truth: &Words) -> bool {
    let layout = kernel.generation.layout();
    let bits = layout.watching_mask | layout.context_mask;
    let truth = truth.to_rcu();
    // `ist_enter()` disables preemption, which P shows only where the kernel counts it: not taken back.
    let uncertain = if kernel.ist_sets_nmi_bits { 0 } else { 0xff };
    (found.state.0 ^ truth.state.0) & bits == 0
        && (found.nesting, found.nmi_nesting) == (truth.nesting, truth.nmi_nesting)
        && (found.preempt_count.0 ^ truth.preempt_count.0) & !uncertain == 0
}
