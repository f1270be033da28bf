//! The `rcu-watch` command: parses, runs, maps to an exit code.

use std::env;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue};
use nix::sys::signal::{SigSet, Signal};
use rcu_watch::cli::args::Cli;
use rcu_watch::cli::exit;
use rcu_watch::cli::suggestion;
use rcu_watch::commands;
use rcu_watch::outlet;
use rcu_watch::sink::is_closed_pipe;
use rcu_watch_core::shown::shown;
use rcu_watch_core::verdict::Exit;

fn main() -> ExitCode {
    // A file at its limit (ulimit -f) is an error of the write, which is told, and not the end by a signal. Programs that
    // are started from here get an empty mask again, by std.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    let cli = match Cli::try_parse_from(env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => return exit::code(usage_exit(as_shown(usage))),
    };
    match commands::run(&cli.into_command()) {
        Ok(exit) => exit::code(exit),
        Err(error) => {
            if !is_closed_pipe(&error) {
                outlet::last_words(format!("rcu-watch: {}\n", shown(&format!("{error:#}"))));
            }
            exit::code(exit::of_error(&error))
        }
    }
}

/// The same about arguments that do nothing to a terminal: what was typed is quoted in it.
fn as_shown(usage: clap::Error) -> clap::Error {
    let typed = env::args_os().map(|argument| shown(&argument.to_string_lossy()).into_owned());
    Cli::try_parse_from(typed).err().unwrap_or(usage)
}

/// A mistyped command is an unexpected argument of `watch` to clap: the command that was meant is added.
fn suggested(mut usage: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(typed)) = usage.get(ContextKind::InvalidArg)
        && let Some(meant) = suggestion::command(&typed.clone())
    {
        usage.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant]));
    }
    usage
}

/// Help and version are answers; anything else is a usage error, and 1 because 2 means findings.
fn usage_exit(usage: clap::Error) -> Exit {
    let usage = suggested(usage);
    // A reader that closed the pipe has seen as much of the help as it wanted.
    let _ = usage.print();
    if usage.use_stderr() { Exit::Error } else { Exit::Clean }
}
