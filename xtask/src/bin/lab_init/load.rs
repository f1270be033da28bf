//! `lab-load SECONDS [WORKERS]`: fork and exit, over and over, with a pause after each so that CPUs go idle.
//!
//! Forks, exits, wake-ups, timers and idle entries are what moves a CPU's RCU state; a load that only spins
//! would show none of it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let seconds = args.next().and_then(|text| text.parse().ok());
    let workers = args.next().map_or(Some(2), |text| text.parse().ok());
    let (Some(seconds), Some(workers)) = (seconds, workers) else {
        eprintln!("lab-load: give seconds, and workers if not 2");
        return ExitCode::FAILURE;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..workers).map(|_: usize| thread::spawn(move || fork_until(end))).collect();
    let Some(forks) = sum(threads) else { return ExitCode::FAILURE };
    println!("lab-load: {forks} forks in {seconds} s");
    ExitCode::SUCCESS
}

/// What all of them counted; `None` where one panicked.
pub(crate) fn sum(threads: Vec<JoinHandle<u64>>) -> Option<u64> {
    threads.into_iter().map(|thread| thread.join().ok()).sum()
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

/// `lab-spin CPU SECONDS`: user code on one CPU that calls nobody, but for a glance at the clock now and then.
pub(crate) fn spin(mut args: impl Iterator<Item = String>) -> ExitCode {
    let mut number = || args.next().and_then(|text| text.parse::<usize>().ok());
    let (Some(cpu), Some(seconds)) = (number(), number()) else {
        eprintln!("lab-spin: give a CPU's number and seconds");
        return ExitCode::FAILURE;
    };
    if let Err(error) = stay_on(cpu) {
        eprintln!("lab-spin: cpu {cpu}: {error}");
        return ExitCode::FAILURE;
    }
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let mut turns = 0_u64;
    while Instant::now() < end {
        for _ in 0..1_000_000 {
            turns = std::hint::black_box(turns + 1);
        }
    }
    println!("lab-spin: {turns} turns on cpu {cpu}");
    ExitCode::SUCCESS
}

/// `lab-switch TIMES`: two processes on one CPU hand a byte back and forth; each way is a context switch.
pub(crate) fn switch(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(times) = args.next().and_then(|text| text.parse::<u32>().ok()) else {
        eprintln!("lab-switch: give a number");
        return ExitCode::FAILURE;
    };
    let outcome = stay_on(0).and_then(|()| {
        let (mut here, mut there) = UnixStream::pair()?;
        // SAFETY: this process has one thread; the child goes on with this function and nothing else.
        let pid = unsafe { libc::fork() };
        let mut byte = [0];
        for _ in 0..times {
            if pid == 0 {
                there.read_exact(&mut byte)?;
                there.write_all(&byte)?;
            } else {
                here.write_all(&byte)?;
                here.read_exact(&mut byte)?;
            }
        }
        if pid == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: our own child, and a status that lives over the call.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-switch: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps this thread on one CPU.
pub(crate) fn stay_on(cpu: usize) -> io::Result<()> {
    // SAFETY: an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the bit is within the set, by the check above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: reads the size that is given.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
