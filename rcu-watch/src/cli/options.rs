//! From what was typed to what is asked of the rest of the program.
//!
//! [`super::args`] says how it is written, and everything below the command line has options of its own that know
//! nothing of that. Here one becomes the other, and nowhere else.

use rcu_watch_core::recording::Terms;
use rcu_watch_core::stream::Filter;
use rcu_watch_core::units::CpuId;

use crate::audit::run::AuditOptions;
use crate::check::run::CheckOptions;
use crate::cli::args::{
    AuditArgs, CheckArgs, DmesgArgs, OutputArgs, RecordArgs, ReplayArgs, ScopeArgs, StreamKind, TopArgs,
    VerdictArgs, WatchArgs,
};
use crate::cli::value::CpuList;
use crate::kernel::Request;
use crate::session::options::WatchOptions;
use crate::sink;

/// None named: all of them.
fn cpus(list: Option<&CpuList>) -> Vec<CpuId> {
    list.map_or_else(Vec::new, |list| list.0.clone())
}

impl From<&ScopeArgs> for Request {
    fn from(args: &ScopeArgs) -> Self {
        Self {
            cpus: cpus(args.cpus.as_ref()),
            functions: args.function.clone(),
            require: args.require.clone(),
            exposed: args.exposed,
            allow_fentry: args.allow_fentry,
            watchpoints: args.watchpoints,
            transport: args.transport,
        }
    }
}

impl From<&OutputArgs> for sink::Options {
    fn from(args: &OutputArgs) -> Self {
        Self {
            format: args.format,
            file: args.output.clone(),
            color: args.color,
            verbose: args.verbose,
            ..Self::default()
        }
    }
}

/// The output of a command that judges.
fn judged(output: &OutputArgs, verdict: &VerdictArgs) -> sink::Options {
    sink::Options { baseline: verdict.baseline.clone(), ..output.into() }
}

impl From<&DmesgArgs> for sink::Options {
    fn from(args: &DmesgArgs) -> Self {
        judged(&args.output, &args.verdict)
    }
}

impl From<&ReplayArgs> for sink::Options {
    fn from(args: &ReplayArgs) -> Self {
        Self { perfetto: args.perfetto.clone(), ..judged(&args.output, &args.verdict) }
    }
}

impl From<&ReplayArgs> for Terms {
    fn from(args: &ReplayArgs) -> Self {
        Self {
            fail_on: args.verdict.fail_on,
            filter: Filter {
                rules: args.rule.clone(),
                snapshots: args.stream == StreamKind::All,
                ..Filter::default()
            },
            codes: args.output.format.codes(),
        }
    }
}

impl From<&WatchArgs> for WatchOptions {
    fn from(args: &WatchArgs) -> Self {
        Self {
            duration: args.duration,
            limit: args.limit,
            filter: Filter {
                rules: args.rule.clone(),
                snapshots: args.stream == StreamKind::All,
                ..Filter::default()
            },
            fail_on: args.verdict.fail_on,
            self_test: args.self_test,
            ring_bytes: args.ring_bytes,
            max_overhead: args.max_overhead,
            stall_after: args.stall_after,
            draws: false,
            record: None,
            child: args.child.clone(),
            output: sink::Options {
                perfetto: args.extra.perfetto.clone(),
                metrics: args.extra.metrics,
                ..judged(&args.output, &args.verdict)
            },
        }
    }
}

impl From<&RecordArgs> for WatchOptions {
    fn from(args: &RecordArgs) -> Self {
        Self { record: Some(args.file.clone()), ..(&args.watch).into() }
    }
}

impl From<&TopArgs> for WatchOptions {
    fn from(args: &TopArgs) -> Self {
        Self { duration: args.duration, fail_on: args.verdict.fail_on, draws: true, ..Self::default() }
    }
}

impl From<&AuditArgs> for AuditOptions {
    fn from(args: &AuditArgs) -> Self {
        Self {
            duration: args.duration,
            functions: args.function.clone(),
            cpus: cpus(args.cpus.as_ref()),
            yes: args.yes,
            resume: args.resume.clone(),
            fail_on: args.verdict.fail_on,
            output: sink::Options { baseline: args.verdict.baseline.clone(), ..(&args.output).into() },
        }
    }
}

impl From<&CheckArgs> for CheckOptions {
    fn from(args: &CheckArgs) -> Self {
        Self {
            targets: args.targets.clone(),
            duration: args.duration,
            yes: args.yes,
            no_probe: args.no_probe,
            output: (&args.output).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn command(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).unwrap().into_command()
    }

    #[test]
    fn who_types_nothing_gets_the_default_of_each_option() {
        let Command::Watch(args) = command("rcu-watch") else { panic!("another command") };
        assert_eq!(format!("{:?}", WatchOptions::from(&args)), format!("{:?}", WatchOptions::default()));
        assert_eq!(format!("{:?}", Request::from(&args.scope)), format!("{:?}", Request::default()));
    }

    #[test]
    fn a_recording_is_a_watch_that_writes_a_file_as_well() {
        let Command::Record(args) = command("rcu-watch record --limit 3 --perfetto p x.rec") else {
            panic!("another command")
        };
        let options = WatchOptions::from(&args);
        assert_eq!((options.limit, options.record.as_deref()), (Some(3), Some(Path::new("x.rec"))));
        assert_eq!(options.output.perfetto.as_deref(), Some(Path::new("p")));
    }

    #[test]
    fn a_live_picture_is_a_watch_that_somebody_looks_at() {
        let Command::Top(args) = command("rcu-watch top -d 5 --fail-on never") else {
            panic!("another command")
        };
        let options = WatchOptions::from(&args);
        let looked_at = WatchOptions {
            duration: args.duration,
            fail_on: rcu_watch_core::verdict::FailOn::Never,
            draws: true,
            ..WatchOptions::default()
        };
        assert_eq!(format!("{options:?}"), format!("{looked_at:?}"));
    }
}
