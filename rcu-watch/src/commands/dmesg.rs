//! The kernel's own splats of this class, from a log, in the shape and with the exit codes of a run.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use rcu_watch_core::dmesg::Report;
use rcu_watch_core::verdict::{Exit, Unsupported};

use crate::cli::args::DmesgArgs;
use crate::sink;

pub(crate) fn run(args: &DmesgArgs) -> Result<Exit> {
    let options = sink::Options::from(args);
    let fail_on = args.verdict.fail_on;
    let mut log = open(args)?;
    let mut stream = sink::stream(&options, fail_on)?;
    let mut report = Report::begin(&mut stream)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line).context("cannot read the log")? == 0 {
            break;
        }
        report.line(&String::from_utf8_lossy(&line))?;
    }
    let exit = report.finish(fail_on, options.format.codes())?;
    stream.finish()?;
    Ok(exit)
}

fn open(args: &DmesgArgs) -> Result<Box<dyn BufRead>> {
    match &args.file {
        Some(path) if path.as_os_str() == "-" => Ok(Box::new(io::stdin().lock())),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Ok(Box::new(BufReader::new(file)))
        }
        None => Ok(Box::new(io::Cursor::new(kernel_log()?))),
    }
}

/// What /dev/kmsg holds now, as dmesg would print it.
fn kernel_log() -> Result<Vec<u8>> {
    let no = |error: io::Error| {
        Unsupported(format!(
            "cannot read /dev/kmsg: {error}; run as root, or give a log: `rcu-watch dmesg FILE`"
        ))
    };
    let mut kmsg =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").map_err(no)?;
    let mut log = Vec::new();
    // Documentation/ABI/testing/dev-kmsg: each read gives one record; EPIPE says that some were overwritten.
    let mut record = [0; 8192];
    loop {
        match kmsg.read(&mut record) {
            Ok(0) => break,
            Ok(length) => log.extend(record_line(&record[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(no(error).into()),
        }
    }
    Ok(log)
}

/// `4,1234,42628511,-;text\n KEY=value\n` as `[42.628511] text\n`.
fn record_line(record: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let Some((prefix, rest)) = text.split_once(';') else { return Vec::new() };
    let micros: u64 = prefix.split(',').nth(2).and_then(|field| field.parse().ok()).unwrap_or(0);
    let line = rest.lines().next().unwrap_or("");
    format!("[{}.{:06}] {line}\n", micros / 1_000_000, micros % 1_000_000).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_kmsg_reads_like_a_line_of_dmesg() {
        let record = b"4,1234,42628511,-;RCU not on for: f+0x0/0x1\n SUBSYSTEM=x\n";
        assert_eq!(record_line(record), b"[42.628511] RCU not on for: f+0x0/0x1\n");
        assert_eq!(record_line(b"garbage"), b"");
    }
}
