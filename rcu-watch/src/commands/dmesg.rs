//! The kernel's own splats of this class, from a log, in the shape and with the exit codes of a run.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use anyhow::{Context as _, Result};
use rcu_watch_core::dmesg::Report;
use rcu_watch_core::verdict::{Exit, Unsupported};

use crate::cli::args::DmesgArgs;
use crate::kernel::kmsg::{KernelLog, Since};
use crate::kernel::mount::Tree;
use crate::sink;

pub(crate) fn run(args: &DmesgArgs) -> Result<Exit> {
    let options = sink::Options::from(args);
    let fail_on = args.verdict.fail_on;
    let log = open(args)?;
    let mut stream = sink::stream(&options, fail_on)?;
    let is_pipe = args.file.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let log: Box<dyn Read> = if is_pipe { Box::new(stream.while_heard(log)) } else { log };
    let mut log = BufReader::new(log);
    let mut report = Report::begin(&mut stream)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", name(args)))? == 0 {
            break;
        }
        report.line(&String::from_utf8_lossy(&line))?;
    }
    let exit = report.finish(fail_on, options.format.codes())?;
    Ok(stream.finish(exit)?)
}

fn name(args: &DmesgArgs) -> String {
    match &args.file {
        Some(path) if path.as_os_str() == "-" => "standard input".to_owned(),
        Some(path) => path.display().to_string(),
        None => "the kernel's log".to_owned(),
    }
}

fn open(args: &DmesgArgs) -> Result<Box<dyn Read>> {
    match &args.file {
        Some(path) if path.as_os_str() == "-" => Ok(Box::new(io::stdin().lock())),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Ok(Box::new(file))
        }
        None => Ok(Box::new(io::Cursor::new(kernel_log()?))),
    }
}

/// What /dev/kmsg holds now, as dmesg would print it.
fn kernel_log() -> Result<Vec<u8>> {
    let no = |why: String| {
        Unsupported(format!("cannot read the kernel's log: {why}; or give one: `rcu-watch dmesg FILE`"))
    };
    let mut log = KernelLog::open(&Tree::live(), Since::Oldest).map_err(|reason| no(reason.to_string()))?;
    let news = log.news(usize::MAX).map_err(|error| no(error.to_string()))?;
    Ok(news.lines.iter().flat_map(|line| [line.as_bytes(), b"\n"]).flatten().copied().collect())
}
