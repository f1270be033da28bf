//! `cargo xtask`: set-up, build, the QEMU lab and the release of rcu-watch.
//!
//! Builds with cargo alone, before any set-up: it links the judge, `rcu-watch-core`, and runs what needs the BPF programs
//! as a command.

mod bench;
mod cache;
mod ci;
mod demo;
mod dist;
mod lab;
mod model;
mod process;
mod setup;
mod tally;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need
    Setup,
    /// Show a real break, live, in a guest with a stock kernel
    Demo,
    /// Everything: set-up, checks, and the lab's scenarios on every kernel
    Test {
        /// The long scenarios too
        #[arg(long)]
        all: bool,
        /// Record what the scenarios came to, for the support matrix
        #[arg(long)]
        record: bool,
    },
    /// Every check that needs no guest: format, lints, unit tests
    Ci(ci::Ci),
    /// Build what is shipped, to target/dist: static binary, man page, completions, archive, sums
    Dist,
    /// Explore every interleaving of RCU's algorithm, and hold the rules against it
    Model(model::Model),
    /// Measure what rcu-watch costs, and write it to docs/performance.md
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Boot stock kernels in QEMU
    #[command(subcommand)]
    Lab(lab::Lab),
}

fn main() -> ExitCode {
    let outcome = match &Cli::parse().task {
        Task::Demo => return demo::demo(),
        Task::Test { all, record } => return test::test(*all, *record),
        Task::Ci(which) => ci::ci(which),
        Task::Setup => setup::setup(),
        Task::Dist => dist::dist(),
        Task::Model(args) => model::model(args),
        Task::Bench(bench) => bench::bench(bench),
        Task::Lab(lab) => return lab::main(lab),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
