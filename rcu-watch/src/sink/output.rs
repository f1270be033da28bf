//! From the options of a command to an open sink: files, terminals and the environment.

use std::env;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rcu_watch_core::report::Baseline;
use rcu_watch_core::verdict::FailOn;

use crate::input::{Limits, Lines};
use crate::outlet::{Lane, Wrap};
use crate::sink::Sink;
use crate::sink::Stream;
use crate::sink::create;
use crate::sink::json::Json;
use crate::sink::ktap::Ktap;
use crate::sink::metrics::Metrics;
use crate::sink::names::{Comments, Names};
use crate::sink::options::{ColorChoice, Format, Options};
use crate::sink::perfetto::Perfetto;
use crate::sink::queued::Queued;
use crate::sink::standard::explain;
use crate::sink::text::{Look, Text};

/// The stream of a run: its sink, whatever else listens, and the baseline that it judges against.
pub fn stream(options: &Options, fail_on: FailOn) -> Result<Stream> {
    let baseline = match &options.baseline {
        Some(path) => {
            let name = path.display();
            for output in [&options.file, &options.perfetto] {
                create::keep(path, output.as_deref())?;
            }
            let file = File::open(path).with_context(|| format!("cannot open the baseline {name}"))?;
            let mut lines = Lines::new(BufReader::new(file), Limits::STREAM);
            let baseline = Baseline::read(&mut lines);
            if let Some(broken) = lines.broken {
                bail!("cannot use the baseline {name}: {broken}; give the output of `rcu-watch -f json`");
            }
            baseline.with_context(|| format!("cannot use {name}"))?
        }
        None => Baseline::default(),
    };
    let mut stream = Stream::new(open(options, fail_on)?, baseline).with_codes(options.format.codes());
    if let Some(path) = &options.perfetto {
        stream.add(Box::new(Perfetto::new(BufWriter::new(Named::create(path)?))));
    }
    if let Some(address) = options.metrics {
        let metrics = Metrics::answer(address)
            .with_context(|| format!("cannot listen on {address}; name a free port with --metrics"))?;
        stream.add(Box::new(metrics));
    }
    Ok(stream)
}

/// Opens what `options` say of the output itself; `fail_on` decides which findings are a failed test.
pub fn open(options: &Options, fail_on: FailOn) -> Result<Box<dyn Sink>> {
    let wrap = Wrap::default();
    let (out, terminal): (Box<dyn Write>, bool) = match &options.file {
        Some(path) => (Box::new(Named::create(path)?), false),
        None => (Box::new(wrap.inlet(Lane::Output)), io::stdout().is_terminal()),
    };
    let sink: Box<dyn Sink> = match options.format {
        Format::Json => Box::new(Json::new(out)),
        Format::Ktap => Box::new(Ktap::new(out, fail_on)),
        Format::Names => Box::new(Names::new(out, Comments::Reasons)),
        Format::Retsnoop => Box::new(Names::new(out, Comments::None)),
        Format::Text => {
            let look = Look {
                color: is_coloured(options.color, terminal),
                screen: io::stderr().is_terminal().then(screen_width),
                verbose: options.verbose > 0,
                report_file: options.file.is_some(),
            };
            Box::new(Text::new(out, wrap.inlet(Lane::Error), look))
        }
    };
    Ok(Box::new(
        Queued::open(sink, wrap).context("cannot start the writers of standard output and standard error")?,
    ))
}

/// The width of the terminal on standard error; 80 where nobody knows.
fn screen_width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

fn is_coloured(choice: ColorChoice, terminal: bool) -> bool {
    let unwanted = || env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !unwanted() && env::var_os("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// A writer whose errors say where it writes to, and what to do.
struct Named<W> {
    name: String,
    out: W,
}

impl Named<File> {
    fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let out = create::create(path)?;
        Ok(Self { name, out })
    }
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| explain(&self.name, error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| explain(&self.name, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_the_file_and_the_remedy() {
        let mut out =
            Named { name: "out.json".into(), out: File::options().write(true).open("/dev/full").unwrap() };
        let error = out.write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot write to out.json: ") && text.contains("; free space there"),
            "{text}"
        );
    }
}
