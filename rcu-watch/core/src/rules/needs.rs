//! Holds the table's points to the conditions: on every point, by every mechanism, over all that the model reaches.
//!
//! A probe of a point is put on the sites of that point's code only, and is given what the programs of its mechanism
//! read there; the table must have exactly the points where the condition then judges. Two things it does not say:
//! that only a fentry program judges RW014 at the NMI's handler, and that int3, which is an exception itself, lets RW003
//! and RW004 judge wherever it sits. No plan asks for either. The same hits on kernels of which less is known hold the
//! table to the kernels that a condition judges on.

use std::collections::BTreeSet;

use super::tests::{handler, probe};
use super::{RULES, RuleSet, Verdicts, judge};
use crate::finding::RuleId;
use crate::model::explore::{Explorer, State};
use crate::model::kernel::{KernelModel, TextMap, TextRange};
use crate::model::step::{Site, Step};
use crate::model::transition::{Activity, BASE, IRQ, IST, Programs};
use crate::model::variant::Variant;
use crate::probe::{Handler, HandlerKind, Mechanism, Point, Probe, Reliance};
use crate::snapshot::{Regs, Snapshot, Task};
use crate::units::Address;

/// What may be otherwise on a kernel, or not known of it.
const CHANGES: [fn(&mut KernelModel); 6] = [
    |kernel| kernel.calibration.eqs = false,
    |kernel| kernel.calibration.hardirq_bits = false,
    |kernel| kernel.calibration.nmi_bits = false,
    |kernel| kernel.ist_sets_nmi_bits = !kernel.ist_sets_nmi_bits,
    |kernel| kernel.text.writers.clear(),
    |kernel| kernel.text.uninstrumentable.clear(),
];

const WRITER: u64 = 0x1100;
const DEPTH: usize = 2;

const ON_FUNCTION: [Mechanism; 3] = [Mechanism::Fentry, Mechanism::KprobeFtrace, Mechanism::KprobeInt3];
/// Points that have a tracepoint.
const TRACEPOINTS: [Point; 4] = [Point::Checkpoint, Point::NmiEnter, Point::EqsEnter, Point::EqsExit];
const DIRECT: [Mechanism; 6] = [
    Mechanism::Fentry,
    Mechanism::Fexit,
    Mechanism::KprobeFtrace,
    Mechanism::KprobeInt3,
    Mechanism::Kretprobe,
    Mechanism::RawTracepoint,
];

/// Whether a probe of `point` by `mechanism` may be hit at `site`; `nested`: in an irq, NMI or exception.
fn is_hit(point: Point, mechanism: Mechanism, site: Site, activity: Activity, nested: bool) -> bool {
    // Not what is woken on purpose out of idle: no point stands for that.
    let in_idle = activity == Activity::Idle && !nested;
    let at_end = matches!(mechanism, Mechanism::Fexit | Mechanism::Kretprobe);
    let by_tracepoint = mechanism == Mechanism::RawTracepoint;
    let at_entry = !at_end && !by_tracepoint;
    match point {
        Point::Checkpoint => by_tracepoint && site == Site::ContextSwitch,
        Point::EqsEnter => !at_end && in_idle && site == Site::Anything,
        Point::EqsExit if by_tracepoint => in_idle && site == Site::Anything,
        Point::EqsExit => at_entry && in_idle && site == Site::RcuInternal,
        Point::IrqEnter if at_end => site == Site::IrqTold,
        Point::IrqEnter => at_entry && site == Site::RcuInternal,
        Point::IrqExit => at_entry && site == Site::IrqBody,
        Point::NmiEnter if by_tracepoint => site == Site::NmiBody,
        Point::NmiEnter => at_entry && matches!(site, Site::NmiBody | Site::NmiEdge | Site::RcuInternal),
        // Irqs came through `rcu_nmi_exit` too.
        Point::NmiExit => at_entry && matches!(site, Site::NmiBody | Site::IrqBody),
        Point::IstEnter if at_end => site == Site::IstBody,
        Point::IstEnter => at_entry && matches!(site, Site::IstBody | Site::IstEdge),
        Point::IstExit => at_entry && site == Site::IstBody,
        Point::KlpTransition => at_entry && activity == Activity::Task && !nested && site == Site::Anything,
        Point::CpuOffline => at_entry && in_idle && matches!(site, Site::Anything | Site::Victim),
        Point::PatchedFunction | Point::FtraceFunction | Point::IdleVictim => {
            at_entry && !matches!(site, Site::RcuInternal | Site::NmiEdge | Site::IstEdge)
        }
    }
}

/// Those of somebody else are on functions that are watched for them.
fn handlers(point: Point) -> Vec<Handler> {
    match point {
        Point::PatchedFunction | Point::FtraceFunction => vec![
            handler(HandlerKind::Bpf, Reliance::Relies),
            handler(HandlerKind::Livepatch, Reliance::SkippedByKernel),
            handler(HandlerKind::FtraceOps, Reliance::SkippedByKernel),
        ],
        _ => Vec::new(),
    }
}

/// As a program of that point and mechanism sends it.
fn snapshot(state: &State, activity: Activity, point: Point, mechanism: Mechanism) -> Snapshot<'static> {
    let pid = u32::from(!activity.is_idle_task());
    let has_regs = matches!(
        (mechanism, point),
        (Mechanism::KprobeFtrace | Mechanism::KprobeInt3 | Mechanism::Watchpoint, _)
            | (Mechanism::Fentry, Point::NmiEnter)
    );
    // Programs that are made for any function do; those of NMIs and exceptions are others.
    let asks_online = ON_FUNCTION.contains(&mechanism) && !matches!(point, Point::NmiEnter | Point::IstEnter);
    Snapshot {
        rcu: state.words.to_rcu(),
        task: Task { pid, tgid: pid, comm: [0; 16] },
        regs: has_regs.then(|| Regs { ip: Address(WRITER), ..Regs::default() }),
        rcu_online: asks_online.then_some(true),
        ..Snapshot::default()
    }
}

/// The rules that judged.
#[derive(Default)]
struct Judged {
    by_probe: Vec<((Point, Mechanism), RuleSet)>,
    /// On a kernel as it is, and by each of [`CHANGES`].
    by_kernel: [RuleSet; CHANGES.len() + 1],
}

fn note(judged: &mut Judged, kernels: &[KernelModel], probe: &Probe, snapshot: &Snapshot<'_>) {
    let mut verdicts = Verdicts::default();
    for (kernel, of_kernel) in kernels.iter().zip(&mut judged.by_kernel).rev() {
        judge(kernel, probe, snapshot, &mut verdicts);
        for rule in verdicts.judged().iter() {
            assert!((rule.row().applies_to)(kernel), "{rule} judges on {kernel:?}");
            of_kernel.insert(rule);
        }
    }
    let by_probe = &mut judged.by_probe;
    let key = (probe.point, probe.mechanism);
    let at = by_probe.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        by_probe.push((key, RuleSet::default()));
        by_probe.len() - 1
    });
    for rule in verdicts.judged().iter() {
        by_probe[at].1.insert(rule);
    }
}

fn judged() -> Judged {
    let mut judged = Judged::default();
    let mut applicable = [RuleSet::default(); CHANGES.len() + 1];
    for variant in Variant::ALL {
        let range = vec![TextRange { start: Address(0x1000), end: Address(0x2000) }];
        let text = TextMap { uninstrumentable: range.clone(), known_victims: Vec::new(), writers: range };
        let kernel = KernelModel { text, ..variant.kernel() };
        let changed = CHANGES.map(|change| {
            let mut changed = kernel.clone();
            change(&mut changed);
            changed
        });
        // As it is first, and the others after it.
        let kernels = [&[kernel][..], &changed].concat();
        for (kernel, of_kernel) in kernels.iter().zip(&mut applicable) {
            let rules = RULES.iter().filter(|rule| !rule.is_looked_for() && (rule.applies_to)(kernel));
            rules.for_each(|rule| of_kernel.insert(rule.id));
        }
        for activity in Activity::ALL {
            let programs = Programs::new(variant, activity);
            let explored = Explorer::new(&programs, DEPTH).explore(|explorer, state| {
                let Some(Step::Hookable(site)) = explorer.next_step(state) else { return Ok(()) };
                let nested = state.depth() > 0;
                for &point in Point::ALL {
                    for mechanism in DIRECT {
                        if !is_hit(point, mechanism, site, activity, nested) {
                            continue;
                        }
                        let snapshot = snapshot(state, activity, point, mechanism);
                        let is_rcu_internal = site == Site::RcuInternal;
                        let mut probe = Probe { is_rcu_internal, ..probe(point, mechanism) };
                        note(&mut judged, &kernels, &probe, &snapshot);
                        probe.handlers = handlers(point);
                        note(&mut judged, &kernels, &probe, &snapshot);
                    }
                }
                let [.., below, top] = state.frames() else { return Ok(()) };
                // Watchpoints are off in NMIs and exceptions.
                if site == Site::IstBody
                    && top.program == IST
                    && matches!(below.program, BASE | IRQ)
                    && matches!(explorer.step_before(below), Some(Step::AddState(_)))
                {
                    let probe = probe(Point::IrqEnter, Mechanism::Watchpoint);
                    note(
                        &mut judged,
                        &kernels,
                        &probe,
                        &snapshot(state, activity, probe.point, probe.mechanism),
                    );
                }
                Ok(())
            });
            assert!(explored.violations.is_empty());
        }
    }
    assert_eq!(judged.by_kernel, applicable, "a rule applies to a kernel where it never judges");
    judged
}

#[test]
fn a_rules_points_are_those_where_its_condition_can_judge() {
    let judged = judged();
    let points_of = |rule: RuleId, is: &dyn Fn(Mechanism) -> bool| -> BTreeSet<Point> {
        let of_rule = judged.by_probe.iter().filter(|((_, by), rules)| is(*by) && rules.contains(rule));
        of_rule.map(|((point, _), _)| *point).collect()
    };
    let mut wrong = Vec::new();
    for rule in RULES {
        let told: BTreeSet<Point> = rule.needs.iter().copied().collect();
        let by_tracepoint = points_of(rule.id, &|by| by == Mechanism::RawTracepoint);
        let by_function = points_of(rule.id, &|by| {
            !matches!(by, Mechanism::RawTracepoint | Mechanism::Watchpoint | Mechanism::KprobeInt3)
        });
        let found = &by_tracepoint | &by_function;
        if found != told {
            wrong.push(format!("{}: the table has {told:?}, the condition {found:?}", rule.code));
        }
        let traced: BTreeSet<Point> =
            if rule.by_tracepoint { &told & &TRACEPOINTS.into() } else { [].into() };
        if traced != by_tracepoint {
            wrong.push(format!("{}: by a tracepoint {by_tracepoint:?}", rule.code));
        }
        let by_watchpoint = !points_of(rule.id, &|by| by == Mechanism::Watchpoint).is_empty();
        if by_watchpoint != rule.by_watchpoint {
            wrong.push(format!("{}: by a watchpoint, the condition says {by_watchpoint}", rule.code));
        }
        let by_int3 = points_of(rule.id, &|by| by == Mechanism::KprobeInt3);
        let judges_int3 = matches!(rule.id, RuleId::NmiEdge | RuleId::ExceptionNotNmi);
        if !judges_int3 && !by_int3.is_subset(&told) {
            wrong.push(format!("{}: by int3 at {by_int3:?}", rule.code));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
