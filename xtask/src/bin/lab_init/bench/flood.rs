//! `lab-flood SECONDS`: every CPU fires hooks as fast as it can: context switches, and calls of `prctl`.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::work::{ping_pong, system_calls};

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
    let mut rounds = 0;
    for thread in threads {
        match thread.join() {
            Ok(count) => rounds += count,
            Err(_) => return ExitCode::FAILURE,
        }
    }
    println!("lab-flood: {rounds} rounds on {cpus} CPUs in {seconds} s");
    ExitCode::SUCCESS
}

/// Stays on `cpu`, as does the thread at the other end of the pipe, which inherits that.
fn flood(cpu: usize, end: Instant) -> u64 {
    // SAFETY: a cpu_set_t is an array of integers, for which zero is a value; CPU_SET bounds its index.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
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
