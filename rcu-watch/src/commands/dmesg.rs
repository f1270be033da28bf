//! The kernel's own splats of this class, from logs, in the shape and with the exit codes of a run.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::stat::{SFlag, fstat};
use rcu_watch_core::dmesg::Report;
use rcu_watch_core::report::summary::EndedBy;
use rcu_watch_core::verdict::{Exit, Unsupported};

use crate::audit::stop::Stop;
use crate::cli::args::DmesgArgs;
use crate::kernel::kmsg::{KernelLog, Since};
use crate::kernel::mount::Tree;
use crate::sink::{self, create};

/// No kernel takes longer between two lines of one splat: what has come by then is told.
const PAUSE: Duration = Duration::from_secs(1);

/// The kernel's own lines end at 2 KiB (`PRINTK_MESSAGE_MAX` in kernel/printk/internal.h).
const LINE_MAX: usize = 1 << 20;

/// Where a log comes from.
enum Source {
    Kernel(KernelLog),
    Input,
    /// With the beginning of a line whose end was not written yet.
    File {
        path: PathBuf,
        file: BufReader<File>,
        rest: Vec<u8>,
    },
}

pub(crate) fn run(args: &DmesgArgs) -> Result<Exit> {
    let options = sink::Options::from(args);
    let fail_on = args.verdict.fail_on;
    for file in &args.files {
        create::keep(file, args.output.output.as_deref())?;
    }
    let mut sources = sources(&args.files)?;
    let follows_one = matches!(sources[..], [Source::Kernel(_) | Source::File { .. }]);
    if args.follow && !follows_one {
        bail!("--follow follows one log that grows; name one file, or none for the kernel's own");
    }
    let mut stop = args.follow.then(Stop::new).transpose().context("cannot catch SIGINT and SIGTERM")?;
    let mut stream = sink::stream(&options, fail_on)?;
    let input = stream.while_heard(io::stdin());
    let mut input = BufReader::new(input);
    let mut report = Report::begin(&mut stream)?;
    for source in &mut sources {
        source.read(&mut input, args.follow, |line| Ok(report.line(line)?))?;
        report.pause()?;
    }
    if let Some(stop) = &mut stop {
        let source = &mut sources[0];
        while !stop.wait(PAUSE) {
            let mut has_grown = false;
            source.read(&mut input, true, |line| {
                has_grown = true;
                Ok(report.line(line)?)
            })?;
            if !has_grown {
                report.pause()?;
            }
        }
    }
    let ended_by = if args.follow { EndedBy::Signal } else { EndedBy::EndOfFile };
    let exit = report.finish(ended_by, fail_on, options.format.codes())?;
    Ok(stream.finish(exit)?)
}

fn sources(files: &[PathBuf]) -> Result<Vec<Source>> {
    if files.is_empty() {
        let source = if is_input_a_log() { Source::Input } else { Source::Kernel(kernel_log()?) };
        return Ok(vec![source]);
    }
    files.iter().map(|path| Source::open(path)).collect()
}

/// A pipe or a file was put there for us to read; a terminal or /dev/null was not.
fn is_input_a_log() -> bool {
    fstat(io::stdin().as_fd()).is_ok_and(|stat| {
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        [SFlag::S_IFIFO, SFlag::S_IFREG, SFlag::S_IFSOCK].contains(&kind)
    })
}

fn kernel_log() -> Result<KernelLog> {
    let log = KernelLog::open(&Tree::live(), Since::Oldest);
    Ok(log.map_err(|reason| closed(&reason.to_string()))?)
}

fn closed(why: &str) -> Unsupported {
    Unsupported(format!("cannot read the kernel's log: {why}; or give one: `rcu-watch dmesg FILE`"))
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Input);
        }
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self::File { path: path.to_owned(), file: BufReader::new(file), rest: Vec::new() })
    }

    /// Takes the lines that are there. Of a log that grows, the last one only once it is whole.
    fn read(
        &mut self,
        input: &mut impl BufRead,
        grows: bool,
        take: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Kernel(log) => {
                let news = log.news(usize::MAX).map_err(|error| closed(&error.to_string()))?;
                news.lines.iter().map(String::as_str).try_for_each(take)
            }
            Self::Input => lines(input, "standard input", &mut Vec::new(), false, take),
            Self::File { path, file, rest } => lines(file, &path.display().to_string(), rest, grows, take),
        }
    }
}

fn lines(
    log: &mut impl BufRead,
    name: &str,
    line: &mut Vec<u8>,
    grows: bool,
    mut take: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    loop {
        // One byte more than there is room for tells a line that is too long from one that just fits.
        let room = (LINE_MAX + 1).saturating_sub(line.len());
        let read = log.by_ref().take(room as u64).read_until(b'\n', line);
        let read = read.with_context(|| format!("cannot read {name}"))?;
        if line.len() > LINE_MAX {
            bail!(
                "cannot read {name} any further: a line has more than {} MiB; give a log as dmesg or journalctl -k \
                 print it",
                LINE_MAX >> 20
            );
        }
        if read == 0 {
            break;
        }
        if grows && !line.ends_with(b"\n") {
            break;
        }
        take(&String::from_utf8_lossy(line))?;
        line.clear();
    }
    Ok(())
}
