//! `lab-flood SECONDS`: every CPU fires hooks as fast as it can: context switches, and calls of `prctl`.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::work::{ping_pong, system_calls};
use crate::load::{stay_on, sum};

/// Between two looks at the clock.
const ROUNDS: u64 = 100;

pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(seconds) = args.next().and_then(|text| text.parse().ok()) else {
        eprintln!("lab-flood: give seconds");
        return ExitCode::FAILURE;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..cpus).map(|cpu| thread::spawn(move || flood(cpu, end))).collect();
    let Some(rounds) = sum(threads) else { return ExitCode::FAILURE };
    println!("lab-flood: {rounds} rounds on {cpus} CPUs in {seconds} s");
    ExitCode::SUCCESS
}

/// Stays on `cpu`, as does the thread at the other end of the pipe, which inherits that.
fn flood(cpu: usize, end: Instant) -> u64 {
    // Where it may not, it floods whatever CPU it is on.
    let _ = stay_on(cpu);
    let mut rounds = 0;
    while Instant::now() < end {
        if ping_pong(ROUNDS).is_err() {
            return rounds;
        }
        system_calls(ROUNDS);
        rounds += ROUNDS;
    }
    rounds
}
