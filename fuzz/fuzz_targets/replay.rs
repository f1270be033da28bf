//! Any file is a recording that plays to some point, or is refused: no panic, no endless run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
use rcu_watch_core::pipeline::{Finding, Listener, Pipeline};
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::recording::{Terms, judge};

struct Deaf;

impl Listener for Deaf {
    fn finding(&mut self, _finding: &Finding<'_>) {}
}

fuzz_target!(|bytes: &[u8]| {
    let _ = judge(bytes, &Terms::default());

    // A frame's checksum keeps most inputs from the rules: the pipeline takes the same bytes as records, too.
    let Some((&first, records)) = bytes.split_first() else {
        return;
    };
    let generation = Generation::ALL[usize::from(first) % Generation::ALL.len()];
    let probe = |point, mechanism| Probe {
        point,
        mechanism,
        symbol: "f".to_owned(),
        handlers: Vec::new(),
        is_rcu_internal: false,
        ftrace_validates_rcu: false,
    };
    let plan = vec![
        probe(Point::Checkpoint, Mechanism::RawTracepoint),
        probe(Point::IdleVictim, Mechanism::KprobeInt3),
        probe(Point::EqsEnter, Mechanism::Watchpoint),
        probe(Point::IrqEnter, Mechanism::Fentry),
        probe(Point::NmiEnter, Mechanism::Fentry),
        probe(Point::EqsEnter, Mechanism::RawTracepoint),
        probe(Point::EqsExit, Mechanism::RawTracepoint),
    ];
    let mut pipeline = Pipeline::new(KernelModel::new(generation, PreemptLayout::FOUR_BYTES), plan);
    for record in records.chunks(128) {
        pipeline.push(record, &mut Deaf);
    }
});
