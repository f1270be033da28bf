//! What can be typed. No I/O here: help, man page and completions come from this one definition.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use rcu_watch_core::finding::RuleId;
use rcu_watch_core::verdict::FailOn;

use crate::cli::value::{self, CpuList};
use crate::cli::word::{self, one_of};
use crate::kernel::facts::feature::TransportChoice;
use crate::kernel::plan::glob::Glob;
use crate::kernel::plan::{Requirement, WatchpointMode};
use crate::session::options::MAX_OVERHEAD;
use crate::sink::options::{ColorChoice, Format};

const EXAMPLES: &str = "\
Examples:
  rcu-watch                           watch until Ctrl-C, then a summary
  rcu-watch -d 30s --fail-on warning  for CI: 2 on a finding, 3 when inconclusive
  rcu-watch -f json | jq 'select(.type == \"finding\")'
  rcu-watch -- modprobe my-livepatch  watch while a command runs

Exit codes: 0 no finding, 1 error, 2 findings, 3 inconclusive, 4 not supported here, 5 CMD failed";

const AUDIT_NOTES: &str = "\
Says first what it will do to this machine and asks; without a terminal it needs --yes.

Examples:
  rcu-watch audit --function 'acpi_*' --resume audit.state
  rcu-watch audit --yes -f json | jq -r 'select(.data.verdict == \"exposed\") | .data.function'

Exit codes: 0 none exposed, 1 error, 2 some are, 3 inconclusive, 4 not supported here";

const CHECK_NOTES: &str = "\
A probe is placed on each function that is not refused at once. On a terminal rcu-watch asks
first; elsewhere it needs --yes. Run what calls the functions meanwhile: evidence is what was seen.

Examples:
  rcu-watch check --yes ./my-livepatch.ko && insmod ./my-livepatch.ko
  rcu-watch check --no-probe arch_cpu_idle

Exit codes: 0 no evidence against any, 1 error, 2 some must or can not be hooked,
            3 inconclusive, 4 not supported here";

const DOCTOR_NOTES: &str = "\
Where nothing stands in the way it also loads the programs, reads the state, and lets go again.

Examples:
  rcu-watch doctor -f json | jq -r 'select(.type == \"check\") | .data | \"\\(.state) \\(.name)\"'

Exit codes: 0 this kernel can be watched, 1 error, 4 it cannot: what says NO, says why";

const RECORD_NOTES: &str = "\
Examples:
  rcu-watch record -d 30s break.rec
  rcu-watch record -d 30s --stream all run.rec   with idle, irqs and NMIs, for pictures";

const REPLAY_NOTES: &str = "\
Examples:
  rcu-watch replay break.rec --fail-on warning
  rcu-watch replay run.rec --perfetto run.pftrace   draws what `record --stream all` kept";

const TOP_NOTES: &str = "\
Examples:
  rcu-watch top --exposed
  rcu-watch top --replay run.rec    draws what `record --stream all` kept

Keys: q quit, space pause, tab or 1-5 panel, up/down CPUs, +/- time, ? help";

const DMESG_NOTES: &str = "\
Examples:
  rcu-watch dmesg
  rcu-watch dmesg -f ktap console.log
  cat /sys/fs/pstore/dmesg-* | rcu-watch dmesg -

Exit codes: 0 no finding, 1 error, 2 findings, 4 the kernel's log is closed to this process";

/// Watch a live kernel for code that runs where RCU is not watching.
#[derive(Debug, Parser)]
#[command(name = "rcu-watch", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watch: WatchArgs,
}

impl Cli {
    /// The command; `watch` where none was named.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Watch(self.watch))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach the plan, stream findings, end with a summary (the default)
    #[command(after_help = EXAMPLES)]
    Watch(WatchArgs),
    /// Print the attach plan for this kernel, with reasons; attach nothing
    Probes(ProbesArgs),
    /// Watch, and keep every record in a file for `replay`
    #[command(after_help = RECORD_NOTES)]
    Record(RecordArgs),
    /// Judge a recording again, on any machine
    #[command(after_help = REPLAY_NOTES)]
    Replay(ReplayArgs),
    /// Say what this kernel and these privileges allow, and what to do about the rest
    #[command(after_help = DOCTOR_NOTES)]
    Doctor(DoctorArgs),
    /// Show a live picture of each CPU
    #[command(after_help = TOP_NOTES)]
    Top(TopArgs),
    /// Find every traceable function that this kernel runs with RCU off
    #[command(after_help = AUDIT_NOTES)]
    Audit(AuditArgs),
    /// Before patching or tracing: is there evidence against it?
    #[command(after_help = CHECK_NOTES)]
    Check(CheckArgs),
    /// Find this class of kernel splats in a log: dmesg's, a CI job's, pstore's
    #[command(after_help = DMESG_NOTES)]
    Dmesg(DmesgArgs),
    /// Print a rule's page, or the list of rules
    Explain {
        /// RW001, or its name
        #[arg(value_parser = value::rule)]
        rule: Option<RuleId>,
    },
    /// Print a shell's completions
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    Man,
}

#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// Stop after this long: 30s, 5m, 500ms; a bare number is seconds
    #[arg(short, long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    /// Stop after this many findings, repeats not counted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), hide_short_help = true)]
    pub limit: Option<u64>,
    /// Report this rule only, by id or name (repeatable)
    #[arg(long, value_name = "RULE", value_parser = value::rule, hide_short_help = true)]
    pub rule: Vec<RuleId>,
    /// Send one finding marked synthetic through the whole pipeline
    #[arg(long)]
    pub self_test: bool,
    /// `all` adds a record for every snapshot (json only)
    #[arg(long, value_name = "WHAT", default_value = "findings", hide_short_help = true)]
    pub stream: StreamKind,
    /// Size of the ring buffer: a power of two of whole pages
    #[arg(long, value_name = "SIZE", value_parser = value::ring_bytes, hide_short_help = true)]
    pub ring_bytes: Option<u32>,
    /// Give up the dearest probes for a while where the programs take more of a CPU's time
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = MAX_OVERHEAD,
        value_parser = value::percent,
        hide_short_help = true
    )]
    pub max_overhead: f64,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub extra: ExtraArgs,
    /// Watch while this command runs
    #[arg(last = true, value_name = "CMD", help_heading = "Options", hide_short_help = true)]
    pub child: Vec<OsString>,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ProbesArgs {
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The recording to write
    pub file: PathBuf,
    #[command(flatten)]
    pub watch: WatchArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The recording; - is standard input
    pub file: PathBuf,
    /// Report this rule only, by id or name (repeatable)
    #[arg(long, value_name = "RULE", value_parser = value::rule)]
    pub rule: Vec<RuleId>,
    /// `all` adds a record for every snapshot (json only)
    #[arg(long, value_name = "WHAT", default_value = "findings", hide_short_help = true)]
    pub stream: StreamKind,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Write a trace for ui.perfetto.dev as well
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Show a recording, or a stream of `-f json --stream all`, at its own pace
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Stop after this long: 30s, 5m, 500ms; a bare number is seconds
    #[arg(short, long, value_name = "TIME", value_parser = value::duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub scope: ScopeArgs,
}

#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Trace all functions this long
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = value::duration)]
    pub duration: Duration,
    /// Audit functions that match only; * and ? stand for any (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    /// On these CPUs only: 0-3,8
    #[arg(short, long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Do not ask: this machine may bear the cost
    #[arg(short, long)]
    pub yes: bool,
    /// Keep what is done in FILE; if it is there, go on from it
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub verdict: StrictVerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Functions, or livepatch modules (PATCH.ko), which need not be loaded
    #[arg(required = true, value_name = "FUNC|PATCH.ko")]
    pub targets: Vec<String>,
    /// Observe this long
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = value::duration)]
    pub duration: Duration,
    /// Do not ask before probes are placed
    #[arg(short, long)]
    pub yes: bool,
    /// Place no probe: only say what is known
    #[arg(long, conflicts_with = "yes")]
    pub no_probe: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub struct DmesgArgs {
    /// The log; - is standard input, none the running kernel's own
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What counts.
#[derive(Args, Clone, Debug)]
pub struct VerdictArgs {
    /// Exit 2 from this severity on: info, warning, error (default), never
    #[arg(
        long,
        value_name = "SEVERITY",
        default_value = "error",
        value_parser = one_of(word::FAIL_ON),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub fail_on: FailOn,
    /// Let findings that are in this earlier NDJSON not count
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub baseline: Option<PathBuf>,
}

/// What counts for a command that looks for exposed functions: these are warnings, and what was asked for.
#[derive(Args, Clone, Debug)]
pub struct StrictVerdictArgs {
    /// Exit 2 from this severity on: info, warning (default), error, never
    #[arg(
        long,
        value_name = "SEVERITY",
        default_value = "warning",
        value_parser = one_of(word::FAIL_ON),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub fail_on: FailOn,
    /// Let findings that are in this earlier NDJSON not count
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
}

/// Where to look.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Watch these CPUs only: 0-3,8
    #[arg(short, long, value_name = "LIST")]
    pub cpus: Option<CpuList>,
    /// Watch functions that match only; * and ? stand for any (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub function: Vec<Glob>,
    /// Inconclusive unless it was judged or fired (repeatable)
    #[arg(long, value_name = "RULE|POINT", value_parser = value::requirement)]
    pub require: Vec<Requirement>,
    /// Probe idle functions that nobody else hooks: itself a hazard
    #[arg(long)]
    pub exposed: bool,
    /// Use fentry for what takes no kprobe even where it keeps livepatches from being loaded meanwhile
    #[arg(long, hide_short_help = true)]
    pub allow_fentry: bool,
    /// See idle and irq entry: off (default), sample (1 % of time), always
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "off",
        value_parser = one_of(word::WATCHPOINTS),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub watchpoints: WatchpointMode,
    /// How records leave the kernel: auto, ring (BPF ring buffer), perf (perf event array)
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        value_parser = one_of(word::TRANSPORT),
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub transport: TransportChoice,
}

/// Where and how to say it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// text (default), json (one object a line), ktap (for test harnesses)
    #[arg(
        short,
        long,
        default_value = "text",
        value_parser = one_of(word::FORMAT),
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub format: Format,
    /// Write there instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// auto (NO_COLOR is honoured), always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        value_parser = one_of(word::COLOR),
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub color: ColorChoice,
    /// Say more: reasons, words as read, the books
    ///
    /// Given twice, the BPF programs of a run also say which hits came to nothing: lost, or the state moved while it was
    /// read.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What else may listen.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct ExtraArgs {
    /// Write a trace for ui.perfetto.dev as well
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub perfetto: Option<PathBuf>,
    /// Serve OpenMetrics text there: a port of the loopback device, or ADDRESS:PORT
    #[arg(long, value_name = "ADDR", value_parser = value::listen, hide_short_help = true)]
    pub metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StreamKind {
    Findings,
    All,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn watch(line: &str) -> WatchArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().into_command() {
            Command::Watch(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_means_watch() {
        for line in ["rcu-watch -d 5 --exposed -c 0-1", "rcu-watch watch -d 5 --exposed -c 0-1"] {
            let args = watch(line);
            assert_eq!(args.duration, Some(Duration::from_secs(5)));
            assert!(args.scope.exposed);
            assert_eq!(args.scope.cpus.unwrap().0.len(), 2);
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        assert_eq!(watch("rcu-watch -d 5 -- sleep -x 1").child, ["sleep", "-x", "1"]);
        assert_eq!(watch("rcu-watch -- watch").child, ["watch"]);
    }

    #[test]
    fn short_help_fits_a_screen() {
        let help = Cli::command().term_width(100).render_help().to_string();
        assert!(help.lines().count() <= 48, "{}\n{help}", help.lines().count());
    }

    #[test]
    fn no_line_of_any_short_help_is_wrapped() {
        let mut root = Cli::command().term_width(1000);
        root.build();
        let helps = std::iter::once(&mut root.clone())
            .chain(root.get_subcommands_mut())
            .map(|command| command.render_help().to_string())
            .collect::<Vec<_>>();
        for line in helps.iter().flat_map(|help| help.lines()) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
