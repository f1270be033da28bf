//! The commands: each takes its arguments, does its work and says how the process ends.

mod audit;
mod check;
mod completions;
mod dmesg;
mod doctor;
mod earlier;
mod explain;
mod handlers;
mod host;
mod man;
mod patches;
mod probes;
mod record;
mod replay;
mod top;
mod watch;

use anyhow::Result;
use rcu_watch_core::verdict::Exit;

use crate::cli::args::Command;

pub fn run(command: &Command) -> Result<Exit> {
    match command {
        Command::Watch(args) => watch::run(args),
        Command::Probes(args) => probes::run(args),
        Command::Record(args) => record::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Top(args) => top::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Handlers(args) => handlers::run(args),
        Command::Check(args) => check::run(args),
        Command::Patches(args) => patches::run(args),
        Command::Dmesg(args) => dmesg::run(args),
        Command::Explain { rule } => explain::run(*rule),
        Command::Completions { shell } => completions::run(*shell),
        Command::Man => man::run(),
    }
}
