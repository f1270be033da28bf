//! `lab-observe LABEL OUTPUT CMD...`: runs an observer, which runs `lab-work`, and says what all of it took.
//!
//! Prints one line of `LABEL name value`s for the host: what the work reported, when the observer had everything
//! attached (it starts the work then), its memory, and how many lines it wrote.

use std::fs;
use std::mem::MaybeUninit;
use std::process::{Command, ExitCode, Stdio};

use super::now;

/// Where `lab-work` leaves its report.
const RESULT: &str = "/tmp/work";

pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let words = (args.next(), args.next(), args.next());
    let (Some(label), Some(output), Some(program)) = words else {
        eprintln!("lab-observe: give a label, the observer's output, and a command");
        return ExitCode::FAILURE;
    };
    let _ = fs::remove_file(RESULT);
    let started = now();
    let observer = Command::new(&program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).output();
    let ended = match observer {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("lab-observe: {program}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = fs::read_to_string(RESULT).unwrap_or_default();
    if report.is_empty() {
        eprintln!("lab-observe: {label}: {program} ended with {} and no work was done", ended.status);
        for text in [&ended.stdout, &ended.stderr] {
            eprintln!("{}", String::from_utf8_lossy(text));
        }
        return ExitCode::FAILURE;
    }
    for line in report.lines() {
        match line.strip_prefix("started ").and_then(|text| text.parse::<u64>().ok()) {
            Some(at) => println!("{label} to_work {}", at - started),
            None => println!("{label} {line}"),
        }
    }
    println!("{label} exit {}", ended.status.code().unwrap_or(-1));
    println!("{label} resident_kib {}", children().ru_maxrss);
    if let Ok(written) = fs::read(&output) {
        let marked = written.split(|&byte| byte == b'\n').filter(|line| is_event(line)).count();
        println!("{label} events {marked}");
        let _ = fs::remove_file(&output);
    }
    ExitCode::SUCCESS
}

/// A line for one hit: rcu-watch's `snapshot`, or what the scripts print.
fn is_event(line: &[u8]) -> bool {
    [b"\"type\":\"snapshot\"".as_slice(), b"hit "]
        .iter()
        .any(|mark| line.windows(mark.len()).any(|bytes| bytes == *mark))
}

/// What the kernel counted of everything that we started and that has ended.
fn children() -> libc::rusage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: room for one rusage, whose members are integers, for which zero is a value.
    unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    }
}
