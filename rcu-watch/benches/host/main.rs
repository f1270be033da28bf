//! What user space costs a record: `cargo xtask bench host` runs this and keeps its table in docs/performance.md.
//!
//! The records are those of the corpus, recorded on a stock kernel, over and over with their numbers and times
//! made to go on; breaks are made, since no kernel has millions. Time is the CPU time of this process, the best
//! of some rounds: what else the machine does is no part of it, which is why no harness that takes the wall
//! clock's time is used here.

mod stream;
mod worker;

use std::env;
use std::fs;
use std::io;
use std::process::{Command, ExitCode};

use nix::sys::resource::UsageWho;
use rcu_watch::sink::Sink;
use rcu_watch::sink::Stream;
use rcu_watch::sink::json::Json;
use rcu_watch::sink::perfetto::Perfetto;
use rcu_watch::sink::text::{Look, Text};
use rcu_watch_core::report::Baseline;

use stream::{Corpus, Records};
use worker::{Deaf, Teller, cpu_seconds, decode_all, judge};

/// Records of a round.
const ROUND: u64 = 1_000_000;
const ROUNDS: u32 = 5;
const LARGE: u64 = 10 * ROUND;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let outcome = match args.iter().position(|arg| arg == "--replay") {
        Some(at) => worker::replay(&args[at + 1]),
        None => table(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> anyhow::Result<()> {
    let corpus = Corpus::read()?;
    println!("| one core, from a record's bytes | records/s | ns a record |\n| --- | --- | --- |");
    row("decoded", best(|| decode_all(Records::quiet(&corpus, 2), ROUND)));
    row(
        "to verdicts, nothing wrong (`--stream all`)",
        best(|| judge(&corpus, Records::quiet(&corpus, 2), ROUND, &mut Deaf)),
    );
    row("to verdicts, every record a break", best(|| judge(&corpus, Records::broken(2), ROUND, &mut Deaf)));
    for (name, sink) in SINKS {
        row(
            name,
            best(|| {
                let mut teller = Teller::new(Stream::new(sink(), Baseline::default()), *name != PICTURE);
                judge(&corpus, Records::quiet(&corpus, 2), ROUND, &mut teller)
            }),
        );
    }
    println!("\n| to verdicts, as CPUs grow | records/s | ns a record |\n| --- | --- | --- |");
    for cpus in [1, 2, 8, 64, 512] {
        let name = format!("{cpus} CPUs");
        row(&name, best(|| judge(&corpus, Records::quiet(&corpus, cpus), ROUND, &mut Deaf)));
    }
    println!("\n| books and budget, once a second | ms | ns a probe and CPU |\n| --- | --- | --- |");
    for (cpus, probes) in [(8, 16), (64, 144), (512, 144), (8192, 144)] {
        let seconds = best(|| worker::a_second(cpus, probes));
        let each = seconds / f64::from(cpus * probes) * 1e9;
        println!("| {cpus} CPUs, {probes} probes | {:.1} | {each:.0} |", seconds * 1e3);
    }
    println!("\n| replay of a file | records | bytes | CPU s | records/s | peak memory |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for records in [ROUND, LARGE] {
        replayed(&corpus, records)?;
    }
    Ok(())
}

const PICTURE: &str = "to a Perfetto trace";
type Open = fn() -> Box<dyn Sink>;
const SINKS: &[(&str, Open)] = &[
    ("to NDJSON, a `snapshot` line each", || Box::new(Json::new(io::sink()))),
    ("to text, a line each", || Box::new(Text::new(io::sink(), io::sink(), Look::default()))),
    (PICTURE, || Box::new(Perfetto::new(io::sink()))),
];

/// Seconds of the best round: what is more is somebody else's.
fn best(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn row(name: &str, seconds: f64) {
    let records = ROUND as f64;
    println!("| {name} | {:.1} M | {:.0} |", records / seconds / 1e6, seconds / records * 1e9);
}

/// Replays in a process of its own, whose peak of memory is then that of a replay alone.
fn replayed(corpus: &Corpus, records: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("bench.rec");
    corpus.record(&file, Records::quiet(corpus, 2), records)?;
    let bytes = fs::metadata(&file)?.len();
    let before = cpu_seconds(UsageWho::RUSAGE_CHILDREN);
    let replay = Command::new(env::current_exe()?).arg("--replay").arg(&file).output();
    let seconds = cpu_seconds(UsageWho::RUSAGE_CHILDREN) - before;
    let replay = replay?;
    anyhow::ensure!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    println!(
        "| to the summary as NDJSON | {} M | {} MiB | {seconds:.2} | {:.1} M | {} |",
        records / ROUND,
        bytes >> 20,
        records as f64 / seconds / 1e6,
        String::from_utf8_lossy(&replay.stdout).trim(),
    );
    Ok(())
}
