//! Any file is a recording that plays to some point, or is refused: no panic, no endless run.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::kernel::{KernelModel, PreemptLayout};
use rcu_watch_core::pipeline::{Finding, Listener, Pipeline};
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch::recording::play::{Terms, play};
use rcu_watch::sink::Stream;
use rcu_watch::sink::options::Format;
use rcu_watch_core::report::{Baseline, Envelope};
use rcu_watch_core::verdict::FailOn;
use rcu_watch::session::listener::Filter;
use rcu_watch::sink::Sink;

struct Silent;

impl Sink for Silent {
    fn message(&mut self, _envelope: &Envelope) -> io::Result<()> {
        Ok(())
    }
}

struct Deaf;

impl Listener for Deaf {
    fn finding(&mut self, _finding: &Finding<'_>) {}
}

fuzz_target!(|bytes: &[u8]| {
    let terms = Terms { fail_on: FailOn::Error, filter: Filter::default(), format: Format::Json };
    let _ = play(bytes, Stream::new(Box::new(Silent), Baseline::default()), &terms);

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
