//! `lab-work RESULT KIND:COUNT...`: fixed amounts of work that never idle, timed in guest instructions.
//!
//! The guest has one CPU and QEMU counts its time in instructions, so the time stamp counter is an instruction
//! counter, and whatever runs between two readings, the observer included, is in the difference. The observer, our
//! parent, may have records left when the work is done: it is given until it does nothing more.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use super::bpf;
use super::now;

const WARM_UP: u64 = 300;
const SETTLE: Duration = Duration::from_millis(300);
const SETTLE_MAX: usize = 30;
/// Nanoseconds that an observer with nothing to do may spend in [`SETTLE`].
const QUIET_NS: u64 = 2_000_000;

pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let started = now();
    let Some(result) = args.next() else {
        eprintln!("lab-work: give a file for the result, and pingpong|prctl|programs with a count each");
        return ExitCode::FAILURE;
    };
    let mut report = Report(format!("started {started}\nobserver_start {}\n", observer_ns()));
    let done = args.try_for_each(|item| report.take(&item));
    if let Err(error) = done.and_then(|()| fs::write(&result, report.0)) {
        eprintln!("lab-work: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What the work reports, a `name value` a line.
struct Report(String);

impl Report {
    fn add(&mut self, name: &str, value: impl Display) {
        self.0.push_str(&format!("{name} {value}\n"));
    }

    /// Does one piece of work.
    fn take(&mut self, item: &str) -> io::Result<()> {
        let (kind, count) = item.split_once(':').unwrap_or((item, ""));
        let count = count.parse().map_err(|_| io::Error::other(format!("{item}: no count")))?;
        match kind {
            "pingpong" => self.timed(kind, count, |count| ping_pong(count).map(|()| count * 2)),
            "prctl" => self.timed(kind, count, |count| Ok(system_calls(count))),
            "programs" => self.programs(count),
            other => Err(io::Error::other(format!("no work of the name {other}"))),
        }
    }

    fn timed(&mut self, kind: &str, count: u64, work: impl Fn(u64) -> io::Result<u64>) -> io::Result<()> {
        work(WARM_UP)?;
        settle();
        let observer = observer_ns();
        let start = now();
        let hits = work(count)?;
        let end = now();
        let observer_meanwhile = observer_ns() - observer;
        settle();
        self.add(&format!("{kind} hits"), hits);
        self.add(&format!("{kind} instructions"), end - start);
        self.add(&format!("{kind} observer"), observer_meanwhile);
        self.add(&format!("{kind} observer_after"), observer_ns() - observer - observer_meanwhile);
        Ok(())
    }

    /// Sizes of the observer's programs, and what one run of those on raw tracepoints costs above an empty one.
    fn programs(&mut self, count: u64) -> io::Result<()> {
        let empty = bpf::load_empty(bpf::RAW_TRACEPOINT, None)?;
        // `cpu_idle(state, cpu)` with a C-state; for who only reads words any arguments will do.
        let context = [1_u64, 0, 0, 0];
        let cost = |program| -> io::Result<u64> {
            bpf::test_run(program, &context)?;
            // The one in the middle: of those that a timer interrupts there are few.
            let mut runs = Vec::new();
            for _ in 0..count {
                let start = now();
                bpf::test_run(program, &context)?;
                runs.push(now() - start);
            }
            runs.sort_unstable();
            Ok(runs[runs.len() / 2])
        };
        let bare = cost(&empty)?;
        for program in bpf::programs().iter().filter(|program| !program.name.starts_with("lab_")) {
            let name = format!("program {}", program.name);
            self.add(&format!("{name} xlated"), program.xlated_bytes / 8);
            self.add(&format!("{name} jited"), program.jited_bytes);
            // An NMI's would rightly report that it runs in none.
            if program.kind == bpf::RAW_TRACEPOINT
                && !program.name.contains("nmi")
                && let Ok(run) = cost(&program.fd)
            {
                self.add(&format!("{name} run"), run.saturating_sub(bare));
            }
        }
        Ok(())
    }
}

/// Until our parent does nothing more than look.
fn settle() {
    let mut last = observer_ns();
    for _ in 0..SETTLE_MAX {
        thread::sleep(SETTLE);
        let now = observer_ns();
        if now - last < QUIET_NS {
            return;
        }
        last = now;
    }
}

/// CPU time of our parent's threads; virtual time, and so instructions.
fn observer_ns() -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", parent_id()));
    let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// Two threads hand a byte to and fro: two context switches a round.
pub(super) fn ping_pong(rounds: u64) -> io::Result<()> {
    let (mut there, mut to_there) = pipe()?;
    let (mut here, mut to_here) = pipe()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        while there.read(&mut byte)? == 1 {
            to_here.write_all(&byte)?;
        }
        Ok(())
    });
    let mut byte = [0];
    for _ in 0..rounds {
        to_there.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    drop(to_there);
    echo.join().map_err(|_| io::Error::other("the other end of the pipe panicked"))?
}

fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: room for the two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: two new descriptors that nothing else owns.
    let [read, write] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((read.into(), write.into()))
}

/// The system call whose function has a foreign handler.
pub(super) fn system_calls(count: u64) -> u64 {
    for _ in 0..count {
        // SAFETY: takes integers only.
        unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    }
    count
}
