//! A shell's completions, from the one definition of the command line.

use anyhow::Result;
use clap::CommandFactory as _;
use rcu_watch_core::verdict::Exit;

use crate::cli::args::Cli;
use crate::sink;

pub(crate) fn run(shell: clap_complete::Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rcu-watch", &mut script);
    sink::print(&script)?;
    Ok(Exit::Clean)
}
