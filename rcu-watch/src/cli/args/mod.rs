//! What can be typed. No I/O here: help, man page and completions come from this one definition.
//!
//! A file for each command, and one for each group of options that several commands share: `scope`, `output` and
//! `verdict`.

mod audit;
mod check;
mod dmesg;
mod doctor;
mod handlers;
mod output;
mod patches;
mod probes;
mod record;
mod replay;
mod scope;
mod top;
mod verdict;
mod watch;

use clap::{Parser, Subcommand};
use rcu_watch_core::RuleId;

pub use audit::AuditArgs;
pub use check::CheckArgs;
pub use dmesg::DmesgArgs;
pub use doctor::DoctorArgs;
pub use handlers::HandlersArgs;
pub use output::OutputArgs;
pub use patches::PatchesArgs;
pub use probes::ProbesArgs;
pub use record::RecordArgs;
pub use replay::ReplayArgs;
pub use scope::ScopeArgs;
pub use top::TopArgs;
pub use verdict::VerdictArgs;
pub use watch::{StreamKind, WatchArgs};

use crate::cli::value;

const EXAMPLES: &str = "\
Examples:
  rcu-watch                           watch until Ctrl-C, then a summary
  rcu-watch -d 30s --fail-on warning  for CI: 2 on a finding, 3 when inconclusive
  rcu-watch -f json | jq 'select(.type == \"finding\")'
  rcu-watch -- modprobe my-livepatch  watch while a command runs

Exit codes: 0 no finding, 1 error, 2 findings, 3 inconclusive, 4 not supported here, 5 CMD failed";

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
    #[command(after_help = record::NOTES)]
    Record(RecordArgs),
    /// Judge a recording again, on any machine
    #[command(after_help = replay::NOTES)]
    Replay(ReplayArgs),
    /// Say what this kernel and these privileges allow, and what to do about the rest
    #[command(after_help = doctor::NOTES)]
    Doctor(DoctorArgs),
    /// Show a live picture of each CPU
    #[command(after_help = top::NOTES)]
    Top(TopArgs),
    /// Find every traceable function that this kernel runs with RCU off
    #[command(after_help = audit::NOTES)]
    Audit(AuditArgs),
    /// List every handler of this kernel, whose it is, and whether it can run
    #[command(after_help = handlers::NOTES)]
    Handlers(HandlersArgs),
    /// Before patching or tracing: is there evidence against it?
    #[command(after_help = check::NOTES)]
    Check(CheckArgs),
    /// Say of each livepatch what it replaces, and who holds its transition up
    #[command(after_help = patches::NOTES)]
    Patches(PatchesArgs),
    /// Find this class of kernel splats in a log: dmesg's, a CI job's, pstore's
    #[command(after_help = dmesg::NOTES)]
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
