//! `lab-load SECONDS [WORKERS]`: fork and exit, over and over, with a pause after each so that CPUs go idle.
//!
//! Forks, exits, wake-ups, timers and idle entries are what moves a CPU's RCU state; a load that only spins
//! would show none of it.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

pub fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let seconds = args.next().and_then(|text| text.parse().ok());
    let workers = args.next().map_or(Some(2), |text| text.parse().ok());
    let (Some(seconds), Some(workers)) = (seconds, workers) else {
        eprintln!("lab-load: give seconds, and workers if not 2");
        return ExitCode::FAILURE;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..workers).map(|_: usize| thread::spawn(move || fork_until(end))).collect();
    let mut forks = 0;
    for thread in threads {
        match thread.join() {
            Ok(count) => forks += count,
            Err(_) => return ExitCode::FAILURE,
        }
    }
    println!("lab-load: {forks} forks in {seconds} s");
    ExitCode::SUCCESS
}

fn fork_until(end: Instant) -> u64 {
    let mut forks = 0;
    while Instant::now() < end {
        // SAFETY: the child calls nothing but _exit, which is async-signal-safe.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        if pid > 0 {
            let mut status = 0;
            // SAFETY: our own child, and a status that lives over the call.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            forks += 1;
        }
        thread::sleep(PAUSE);
    }
    forks
}
