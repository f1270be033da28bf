//! The measured work, and the clock that it is measured by.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use rcu_watch::recording::play;
use rcu_watch::session::books::{Books, ProbeCounters};
use rcu_watch::session::budget::{Budget, Load, Worth};
use rcu_watch::sink::Stream;
use rcu_watch::sink::json::Json;
use rcu_watch_core::decode::decode;
use rcu_watch_core::pipeline::{Finding, Listener};
use rcu_watch_core::recording::Terms;
use rcu_watch_core::report::Baseline;
use rcu_watch_core::rules::Hit;
use rcu_watch_core::stream::{Audience as _, Seen};
use rcu_watch_core::units::{CpuId, ProbeId};

use crate::stream::{Corpus, Records};

/// User and system seconds of this process, or of its children.
pub(crate) fn cpu_seconds(of: UsageWho) -> f64 {
    let usage = getrusage(of).expect("every kernel tells what a process cost");
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Seconds that it takes to decode `count` records.
pub(crate) fn decode_all(mut records: Records, count: u64) -> f64 {
    let before = cpu_seconds(UsageWho::RUSAGE_SELF);
    for _ in 0..count {
        let _ = black_box(decode(records.next(), 256));
    }
    cpu_seconds(UsageWho::RUSAGE_SELF) - before
}

/// Seconds that it takes to judge `count` records and tell a listener.
pub(crate) fn judge(corpus: &Corpus, mut records: Records, count: u64, listener: &mut impl Listener) -> f64 {
    let mut pipeline = corpus.pipeline();
    let before = cpu_seconds(UsageWho::RUSAGE_SELF);
    for _ in 0..count {
        pipeline.push(records.next(), listener);
    }
    let seconds = cpu_seconds(UsageWho::RUSAGE_SELF) - before;
    assert_eq!(pipeline.undecodable(), 0);
    black_box(pipeline.totals());
    seconds
}

/// Seconds that a run's turn takes once a second: every counter into the books, sums of each probe, and the budget.
pub(crate) fn a_second(cpus: u32, probes: u32) -> f64 {
    let mut books = Books::default();
    let mut budget = Budget::new(0.01);
    let counters = |hits| ProbeCounters { hits, at_rest: hits, ..ProbeCounters::default() };
    let mut turn = |hits: u64| {
        let mut loads = Vec::new();
        for probe in (0..probes).map(ProbeId) {
            books.take(probe, (0..cpus).map(|cpu| (CpuId(cpu), counters(hits))));
            black_box(books.hits(probe));
            loads.extend(books.of(probe).map(|(cpu, counters)| Load {
                probe,
                worth: Worth::Handler,
                cpu,
                hits_per_second: counters.hits as f64,
                part: 1e-6,
            }));
        }
        black_box(budget.judge(Duration::from_secs(hits), &loads));
    };
    // The first makes room.
    turn(1);
    let before = cpu_seconds(UsageWho::RUSAGE_SELF);
    turn(2);
    cpu_seconds(UsageWho::RUSAGE_SELF) - before
}

/// Hears nothing.
pub(crate) struct Deaf;

impl Listener for Deaf {
    fn finding(&mut self, _finding: &Finding<'_>) {}
}

/// Tells a stream every record, as a run with `--stream all` does, or only shows it.
pub(crate) struct Teller {
    stream: Stream,
    tells: bool,
}

impl Teller {
    pub(crate) fn new(stream: Stream, tells: bool) -> Self {
        Self { stream, tells }
    }
}

impl Listener for Teller {
    fn finding(&mut self, _finding: &Finding<'_>) {}

    fn hit(&mut self, hit: &Hit<'_>, cpu_seq: u64) {
        let told = if self.tells {
            self.stream.snapshot(hit, cpu_seq)
        } else {
            self.stream.observe(&Seen::new(hit))
        };
        told.expect("an output that is thrown away takes everything");
    }
}

/// Replays a file as `rcu-watch replay -f json` does, and prints the peak of memory.
pub(crate) fn replay(path: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let terms = Terms::default();
    let stream = Stream::new(Box::new(Json::new(io::sink())), Baseline::default());
    play(BufReader::new(file), stream, &terms)?;
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!("{}", peak.trim());
    Ok(())
}
