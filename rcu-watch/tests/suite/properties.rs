//! What must hold of every stream: decoding is total, the order of delivery between CPUs says nothing, and loss
//! never turns into a finding.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use proptest::prelude::*;
use rcu_watch_core::Severity;
use rcu_watch_core::decode::{decode, encode};
use rcu_watch_core::model::generation::{Generation, NON_IDLE};
use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
use rcu_watch_core::pipeline::{Finding, Listener, Pipeline};
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::snapshot::{RcuState, Regs, Snapshot, Task};
use rcu_watch_core::units::{Address, Counter, CpuId, Nanos, PreemptCount, ProbeId, StateWord};

use crate::sample;

struct Deaf;

impl Listener for Deaf {
    fn finding(&mut self, _finding: &Finding<'_>) {}
}

fn plan() -> Vec<Probe> {
    let probe = |point, mechanism, handlers| sample::probe("f", point, mechanism, handlers);
    vec![
        probe(Point::Checkpoint, Mechanism::RawTracepoint, vec![]),
        probe(Point::PatchedFunction, Mechanism::Fentry, vec![sample::patch()]),
        probe(Point::IdleVictim, Mechanism::KprobeInt3, vec![]),
        probe(Point::EqsEnter, Mechanism::Watchpoint, vec![]),
        probe(Point::NmiEnter, Mechanism::RawTracepoint, vec![]),
        probe(Point::IrqEnter, Mechanism::Fentry, vec![]),
        probe(Point::EqsEnter, Mechanism::RawTracepoint, vec![]),
        probe(Point::EqsExit, Mechanism::RawTracepoint, vec![]),
    ]
}

const PROBES: u32 = 8;
/// Those that tell where a CPU is: their runs are numbered.
const TRACKING: [u32; 4] = [0, 3, 6, 7];

prop_compose! {
    fn any_snapshot()(
        probe in 0..PROBES,
        state in 0..16_u32,
        nesting in prop::sample::select(vec![-1_i64, 0, 1, 2, 3]),
        nmi_nesting in prop::sample::select(vec![-2_i64, 0, 1, 2, 3, 66, NON_IDLE, NON_IDLE + 1, NON_IDLE + 2]),
        preempt in prop::sample::select(vec![0_u64, 0x100, 0x1_0000, 0x11_0000, 0x22_0000]),
        pid in 0..2_u32,
        interrupts in prop::option::of(any::<bool>()),
    ) -> Snapshot<'static> {
        let regs = interrupts.map(|on| Regs { ip: Address(1), rflags: u64::from(on) << 9, ..Regs::default() });
        Snapshot {
            probe: ProbeId(probe),
            rcu: RcuState {
                state: StateWord(state),
                nesting: Counter(nesting),
                nmi_nesting: Counter(nmi_nesting),
                preempt_count: PreemptCount(preempt),
            },
            task: Task { pid, tgid: pid, comm: [0; 16] },
            regs,
            ..Snapshot::default()
        }
    }
}

/// Gives each CPU's records their numbers.
fn numbered(mut stream: Vec<Snapshot<'static>>, cpu: u32) -> Vec<Snapshot<'static>> {
    let mut next = [0; PROBES as usize];
    let mut runs = 0;
    for (at, snapshot) in stream.iter_mut().enumerate() {
        snapshot.cpu = CpuId(cpu);
        snapshot.ts = Nanos(at as u64);
        let seq = &mut next[snapshot.probe.0 as usize];
        snapshot.probe_seq = *seq;
        *seq += 1;
        if TRACKING.contains(&snapshot.probe.0) {
            runs += 1;
            snapshot.track_seq = NonZeroU32::new(runs);
        }
    }
    stream
}

type Judged = BTreeSet<(&'static str, Severity, String, String, u64)>;

fn judge(generation: Generation, stream: &[Snapshot<'static>]) -> Judged {
    let kernel = KernelModel::new(generation, PreemptLayout::FOUR_BYTES);
    let mut pipeline = Pipeline::new(kernel, plan());
    for snapshot in stream {
        pipeline.push(&encode(snapshot), &mut Deaf);
    }
    let mut judged = BTreeSet::new();
    for total in pipeline.totals() {
        // Kinds that differ in the shape of the state only are told apart by their counts.
        let key = |n| {
            (
                total.rule.code(),
                total.severity,
                total.because.clone(),
                total.fingerprint.clone(),
                total.count + n,
            )
        };
        let free = (0..).map(|n| key(n << 32)).find(|key| !judged.contains(key));
        judged.extend(free);
    }
    judged
}

/// Merges the CPUs' streams as `turns` says, each CPU's own order kept.
fn merged(streams: &[Vec<Snapshot<'static>>], turns: &[usize]) -> Vec<Snapshot<'static>> {
    let mut at = vec![0; streams.len()];
    let mut merged = Vec::new();
    let any_order =
        turns.iter().copied().chain((0..streams.len()).flat_map(|cpu| vec![cpu; streams[cpu].len()]));
    for turn in any_order {
        let cpu = turn % streams.len();
        if let Some(snapshot) = streams[cpu].get(at[cpu]) {
            merged.push(*snapshot);
            at[cpu] += 1;
        }
    }
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(snapshot) = decode(&bytes, 256) {
            let again = encode(&snapshot);
            prop_assert_eq!(decode(&again, 256), Ok(snapshot));
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_a_record_or_an_error(
        snapshot in any_snapshot(), at in 0..128_usize, byte in any::<u8>(),
    ) {
        let mut bytes = encode(&snapshot);
        bytes[at] = byte;
        let _ = decode(&bytes, PROBES);
    }

    #[test]
    fn the_order_of_delivery_between_cpus_says_nothing(
        streams in prop::collection::vec(prop::collection::vec(any_snapshot(), 0..40), 3),
        turns in prop::collection::vec(0..3_usize, 0..120),
        generation in prop::sample::select(Generation::ALL.to_vec()),
    ) {
        let streams: Vec<_> = (0..).zip(streams).map(|(cpu, stream)| numbered(stream, cpu)).collect();
        prop_assert_eq!(
            judge(generation, &merged(&streams, &turns)),
            judge(generation, &merged(&streams, &[]))
        );
    }

    #[test]
    fn loss_never_turns_into_a_finding(
        stream in prop::collection::vec(any_snapshot(), 1..60),
        lost in prop::collection::vec(any::<bool>(), 60),
        generation in prop::sample::select(Generation::ALL.to_vec()),
    ) {
        let stream = numbered(stream, 0);
        let kept: Vec<_> =
            stream.iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(snapshot, _)| *snapshot).collect();
        let kinds = |judged: Judged| -> BTreeSet<_> {
            judged.into_iter().map(|(rule, severity, because, ..)| (rule, severity, because)).collect()
        };
        let (all, some) = (kinds(judge(generation, &stream)), kinds(judge(generation, &kept)));
        prop_assert!(some.is_subset(&all), "{:?}", some.difference(&all).collect::<Vec<_>>());
    }
    /// As above, where most is idle visits: what the stream says as a whole is asked for, too.
    #[test]
    fn loss_never_turns_into_a_transition_that_cannot_be(
        points in prop::collection::vec(prop::sample::select(vec![0_u32, 6, 6, 7, 7]), 1..60),
        lost in prop::collection::vec(prop::bool::weighted(0.3), 60),
    ) {
        let at_rest = Snapshot {
            rcu: RcuState {
                state: StateWord(4),
                nesting: Counter(1),
                nmi_nesting: Counter(NON_IDLE),
                preempt_count: PreemptCount(0),
            },
            ..Snapshot::default()
        };
        let stream = points.iter().map(|&probe| Snapshot { probe: ProbeId(probe), ..at_rest }).collect();
        let stream = numbered(stream, 0);
        let kept: Vec<_> =
            stream.iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(snapshot, _)| *snapshot).collect();
        let count = |stream: &[Snapshot<'static>]| -> u64 {
            judge(Generation::G5, stream).into_iter().map(|(.., count)| count & u64::from(u32::MAX)).sum()
        };
        let declared = |probe: u32| [6, 7].contains(&probe);
        let in_a_row = points.windows(2).any(|pair| declared(pair[0]) && pair[0] == pair[1]);
        prop_assert!(!in_a_row || count(&stream) > 0, "two in a row went untold");
        prop_assert!(count(&kept) <= count(&stream));
        let alternating: Vec<_> = [6, 7].into_iter().cycle().take(points.len()).collect();
        let stream = alternating.iter().map(|&probe| Snapshot { probe: ProbeId(probe), ..at_rest }).collect();
        let kept: Vec<_> = numbered(stream, 0)
            .into_iter()
            .zip(&lost)
            .filter(|(_, lost)| !**lost)
            .map(|(snapshot, _)| snapshot)
            .collect();
        prop_assert_eq!(count(&kept), 0);
    }
}
