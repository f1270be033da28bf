//! A short run as messages: one livepatch on `arch_cpu_idle`, some loss, a summary.

use rcu_watch_core::model::generation::{Base, Context};
use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Point, Probe, Reliance};
use rcu_watch_core::report::finding::{
    FindingReport, GuardVerdict, NmiNestingReport, Repeat, Source, StackFrame, StateReport, TaskReport,
    VantageReport,
};
use rcu_watch_core::report::header::{
    BlindSpot, ChosenProbe, Clock, HandledSite, Header, Kernel, Layout, PassedOver, PlannedPoint, Proof,
};
use rcu_watch_core::report::plan::Event;
use rcu_watch_core::report::summary::{
    Book, CommandStatus, Cost, EndedBy, FindingTotal, GuardTotal, RuleCoverage, RuleStatus, RunVerdict,
    Summary, Totals,
};
use rcu_watch_core::report::{
    Heartbeat, LivepatchReport, Lost, Message, Missed, OutputDropped, PlanChange, ProbeError, SCHEMA,
    SnapshotReport,
};
use rcu_watch_core::rules::guard::Guard;
use rcu_watch_core::units::{
    Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, RealtimeOffset, StateWord, WideNumber,
};
use rcu_watch_core::{RuleId, Severity};

type Said = (u64, Option<u32>, Message);

pub(crate) fn livepatch() -> Handler {
    Handler {
        kind: HandlerKind::Livepatch,
        name: "lp_idle".into(),
        event: None,
        program: None,
        reliance: Reliance::Relies,
        ours: false,
        owner: None,
    }
}

fn stack_tracer() -> Handler {
    Handler {
        kind: HandlerKind::FtraceOps,
        name: "stack_trace_call".into(),
        event: None,
        program: None,
        reliance: Reliance::GuardsItself,
        ours: false,
        owner: None,
    }
}

fn chosen(probe: u32, mechanism: Mechanism, symbol: &str, proof: Proof) -> Option<ChosenProbe> {
    Some(ChosenProbe { probe: Some(ProbeId(probe)), mechanism, symbol: symbol.into(), proof })
}

fn patched_site() -> PlannedPoint {
    PlannedPoint {
        point: Point::PatchedFunction,
        site: Some("arch_cpu_idle".into()),
        required: true,
        chosen: chosen(0, Mechanism::Fentry, "arch_cpu_idle", Proof::Proven),
        passed_over: vec![],
    }
}

pub(crate) fn header(command: &str) -> Header {
    Header {
        schema: SCHEMA,
        tool: "rcu-watch".into(),
        version: "0.1.0".into(),
        command: command.into(),
        host: "guest".into(),
        boot_id: "5b9f3d1e-0d0a-4b57-9f0e-3f1f6f4ad001".into(),
        kernel: Kernel { release: "6.1.0-56-amd64".into(), machine: "x86_64".into() },
        clock: Clock {
            name: "CLOCK_MONOTONIC".into(),
            realtime_offset_ns: RealtimeOffset(1_790_000_000_000_000_000),
        },
        layout: Some(Layout {
            generation: "G4".into(),
            state_member: "context_tracking.state".into(),
            watching_mask: "0x8".into(),
            nmi_mask: "0xf00000".into(),
            hardirq_mask: "0xf0000".into(),
            calibrated: true,
            calibration: vec!["cpu0 in task context: W=1 N=0x1 M=0x4000000000000002".into()],
        }),
        transport: None,
        cpus: vec![CpuId(0), CpuId(1)],
        plan: vec![
            patched_site(),
            PlannedPoint {
                point: Point::Checkpoint,
                site: None,
                required: true,
                chosen: chosen(1, Mechanism::RawTracepoint, "sched_switch", Proof::Proven),
                passed_over: vec![],
            },
            PlannedPoint {
                point: Point::NmiEnter,
                site: None,
                required: false,
                chosen: chosen(2, Mechanism::RawTracepoint, "nmi_handler", Proof::Unproven),
                passed_over: vec![PassedOver {
                    mechanism: Mechanism::Fentry,
                    symbol: "ct_nmi_enter".into(),
                    reason: "noinstr".into(),
                }],
            },
            PlannedPoint {
                point: Point::IdleVictim,
                site: Some("amd_e400_idle".into()),
                required: false,
                chosen: None,
                passed_over: vec![PassedOver {
                    mechanism: Mechanism::Fentry,
                    symbol: "amd_e400_idle".into(),
                    reason: "only with --exposed".into(),
                }],
            },
        ],
        handlers: vec![
            HandledSite {
                function: "arch_cpu_idle".into(),
                address: Some(Address(0xffff_ffff_8100_0040)),
                handlers: vec![livepatch()],
            },
            HandledSite { function: "schedule".into(), address: None, handlers: vec![stack_tracer()] },
        ],
        other_instances: vec![711],
        blind_spots: vec![BlindSpot {
            what: "idle and irq entry".into(),
            reason: "noinstr".into(),
            remedy: Some("--watchpoints sample".into()),
        }],
    }
}

pub(crate) fn state() -> StateReport {
    StateReport {
        state: StateWord(0x1a1),
        nesting: Counter(0),
        nmi_nesting: NmiNestingReport { raw: Counter(0), base: Base::Eqs, depth: 0 },
        preempt_count: PreemptCount(1),
        watching: false,
        vantage: VantageReport::Direct,
        underlying_watching: false,
        context: Some(Context::Idle),
        hardirq: false,
        nmi: false,
    }
}

fn idle_task() -> TaskReport {
    TaskReport { pid: 0, tgid: 0, comm: "swapper/1".into(), idle: true }
}

pub(crate) fn finding() -> FindingReport {
    FindingReport {
        id: 1,
        rule: RuleId::HandlerUnwatched,
        name: RuleId::HandlerUnwatched.name().into(),
        severity: Severity::Error,
        because: "entered with RCU not watching".into(),
        function: "arch_cpu_idle".into(),
        point: Some(Point::PatchedFunction),
        mechanism: Some(Mechanism::Fentry),
        handlers: vec![livepatch()],
        state: Some(state()),
        guards: vec![
            GuardVerdict { guard: Guard::None, protects: false, because: "RCU does not watch".into() },
            GuardVerdict {
                guard: Guard::IrqEnter,
                protects: true,
                because: "M was 0: it makes RCU watch".into(),
            },
        ],
        task: Some(idle_task()),
        stack: vec![
            StackFrame {
                address: Some(Address(0xffff_ffff_8100_0045)),
                symbol: Some("arch_cpu_idle+0x5".into()),
            },
            StackFrame {
                address: Some(Address(0xffff_ffff_8100_1000)),
                symbol: Some("default_idle_call+0x3c".into()),
            },
            StackFrame { address: Some(Address(0xffff_ffff_c000_0123)), symbol: None },
        ],
        holders: Vec::new(),
        help: None,
        source: Source::Probe,
        cpu_seq: Some(WideNumber(17)),
        fingerprint: "RW001:arch_cpu_idle:livepatch:lp_idle".into(),
        synthetic: false,
        known: false,
    }
}

fn rule(rule: RuleId, status: RuleCoverage, reason: Option<&str>, count: u64) -> RuleStatus {
    RuleStatus { rule, name: rule.name().into(), status, reason: reason.map(Into::into), count }
}

pub(crate) fn clean_summary() -> Summary {
    Summary {
        verdict: RunVerdict::Clean,
        exit_code: 0,
        reasons: vec![],
        elapsed_ns: Nanos(31_000_000_000),
        ended_by: EndedBy::Signal,
        output_dropped: OutputDropped::default(),
        totals: Totals {
            hits: 41_203,
            at_rest: 41_100,
            unstable: 3,
            emitted: 100,
            delivered: 100,
            ..Totals::default()
        },
        findings: vec![],
        rules: vec![
            rule(RuleId::HandlerUnwatched, RuleCoverage::Judged, None, 0),
            rule(RuleId::NestingImbalance, RuleCoverage::Judged, None, 0),
            rule(RuleId::UncountedContext, RuleCoverage::NotExercised, Some("no NMI came"), 0),
            rule(RuleId::UnknownWriter, RuleCoverage::Blind, Some("needs a watchpoint"), 0),
        ],
        guards: vec![],
        books: vec![Book {
            probe: ProbeId(1),
            point: Point::Checkpoint,
            symbol: "sched_switch".into(),
            cpu: CpuId(1),
            hits: 41_203,
            at_rest: 41_100,
            unstable: 3,
            emitted: 100,
            delivered: 100,
            lost: 0,
        }],
        cost: Cost {
            user_cpu_seconds: 0.031,
            bpf_run_seconds: Some(0.0123),
            ring_bytes: 1 << 20,
            resident_bytes: 9_000_000,
            max_resident_bytes: 13_000_000,
        },
        child: None,
        transitions: None,
        followed: None,
        log: None,
    }
}

pub(crate) fn broken_summary() -> Summary {
    Summary {
        verdict: RunVerdict::Findings,
        exit_code: 2,
        reasons: vec!["12 records were lost".into()],
        ended_by: EndedBy::Command,
        totals: Totals { lost: 12, missed: 3, delivered: 88, ..clean_summary().totals },
        findings: vec![FindingTotal {
            id: 1,
            rule: RuleId::HandlerUnwatched,
            severity: Severity::Error,
            function: "arch_cpu_idle".into(),
            handlers: vec![livepatch()],
            count: 1312,
            fingerprint: finding().fingerprint,
            synthetic: false,
            known: false,
        }],
        guards: vec![
            GuardTotal { guard: Guard::None, protects: 0, fails: 1312 },
            GuardTotal { guard: Guard::IrqEnter, protects: 1311, fails: 1 },
        ],
        child: Some(CommandStatus { command: "sleep 31".into(), code: Some(0), signal: None }),
        ..clean_summary()
    }
}

/// Every type of message, in an order that a run could have.
pub(crate) fn broken_run() -> Vec<Said> {
    let ms = |ms: u64| 41_000_000_000 + ms * 1_000_000;
    vec![
        (ms(0), None, Message::Header(Box::new(header("watch")))),
        (ms(2), Some(1), Message::Finding(Box::new(finding()))),
        (
            ms(3),
            Some(1),
            Message::Snapshot(Box::new(SnapshotReport {
                probe: ProbeId(0),
                point: Point::PatchedFunction,
                symbol: "arch_cpu_idle".into(),
                state: state(),
                task: idle_task(),
                caller: Some(Address(0xffff_ffff_8100_1000)),
                arg: WideNumber(0),
                cpu_seq: WideNumber(18),
            })),
        ),
        (
            ms(4),
            None,
            Message::Livepatch(LivepatchReport {
                patch: "lab".into(),
                event: Event::TransitionEnd,
                to_patched: true,
                functions: vec!["vmlinux:schedule".into()],
                because: None,
                took_ns: Some(Nanos(1_300_000_000)),
            }),
        ),
        (
            ms(5),
            None,
            Message::PlanChange(PlanChange {
                point: patched_site(),
                handlers: vec![],
                because: "the last handler left".into(),
            }),
        ),
        (
            ms(6),
            Some(0),
            Message::Lost(Lost { probe: ProbeId(0), symbol: "arch_cpu_idle".into(), count: 12 }),
        ),
        (
            ms(7),
            Some(0),
            Message::Missed(Missed { probe: ProbeId(0), symbol: "arch_cpu_idle".into(), count: 1 }),
        ),
        (
            ms(8),
            None,
            Message::ProbeError(ProbeError {
                probe: None,
                symbol: "play_dead".into(),
                error: "no such function".into(),
            }),
        ),
        (
            ms(10_000),
            None,
            Message::Repeat(Repeat {
                id: 1,
                rule: RuleId::HandlerUnwatched,
                function: "arch_cpu_idle".into(),
                count: 1311,
                last_ts_ns: Nanos(ms(9_999)),
            }),
        ),
        (ms(10_000), None, Message::Heartbeat(heartbeat())),
        (ms(31_000), None, Message::Summary(Box::new(broken_summary()))),
    ]
}

pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat {
        elapsed_ns: Nanos(10_000_000_000),
        checkpoints: 41_203,
        handler_calls: 812,
        idle_entries: 18_212,
        nmis: 0,
        findings: 0,
        lost: 0,
        missed: 0,
        hits: 60_227,
        record_bytes: 2_048,
        user_cpu_seconds: 0.02,
        bpf_run_seconds: None,
        user_cost_percent: 0.1,
        kernel_cost_percent: Some(0.04),
    }
}

/// A probe of `symbol` that nothing else is known of.
pub(crate) fn probe(symbol: &str, point: Point, mechanism: Mechanism, handlers: Vec<Handler>) -> Probe {
    Probe {
        point,
        mechanism,
        symbol: symbol.to_owned(),
        handlers,
        is_rcu_internal: false,
        ftrace_validates_rcu: false,
    }
}

/// A livepatch, which relies on RCU.
pub(crate) fn patch() -> Handler {
    Handler {
        kind: HandlerKind::Livepatch,
        name: "fix".to_owned(),
        event: None,
        program: None,
        reliance: Reliance::Relies,
        ours: false,
        owner: None,
    }
}
