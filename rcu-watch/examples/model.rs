//! Prints what the model proves: `cargo xtask model` runs this.
//!
//! It is an example, not a command of rcu-watch: whoever develops the rules needs it, whoever runs them does not.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::variant::Variant;
use rcu_watch_core::model::{guarded, mutant, proof};
use rcu_watch_core::rules::explain;

#[derive(Parser)]
struct Args {
    /// Only the kernels of this generation: G0a, G0b, G1 .. G5.
    #[arg(long, value_parser = generation)]
    generation: Option<Generation>,
    /// How deep irqs, exceptions and NMIs nest.
    #[arg(long, default_value_t = proof::DEPTH, value_parser = depth)]
    depth: usize,
    /// Print what catches each fault of the algorithm instead; G2, G4 and G5 where none is named.
    #[arg(long)]
    mutants: bool,
    /// Write docs/rules.md and docs/guards.md below this directory instead.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

fn generation(name: &str) -> Result<Generation, String> {
    Generation::named(name).ok_or_else(|| {
        format!(
            "no generation is called {name}; there are {}",
            Generation::ALL.map(|g| g.to_string()).join(", ")
        )
    })
}

fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(depth @ 1..=5) => Ok(depth),
        _ => Err("the model nests 1 to 5 deep; 3 takes seconds, 4 minutes".to_owned()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(dir) = &args.docs {
        let written = fs::write(dir.join("docs/rules.md"), explain::markdown())
            .and_then(|()| fs::write(dir.join("docs/guards.md"), guarded::markdown()));
        return match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write below {}: {error}; name the top of the checkout", dir.display());
                ExitCode::FAILURE
            }
        };
    }
    let is_clean = if args.mutants { print_mutants(&args) } else { print_proofs(&args) };
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_proofs(args: &Args) -> bool {
    let (mut states, mut violations) = (0, 0);
    for variant in Variant::ALL {
        if args.generation.is_some_and(|only| only != variant.generation) {
            continue;
        }
        let proof = proof::prove(variant, args.depth);
        states += proof.states;
        violations += proof.violations.len();
        println!("{proof}");
    }
    println!("{states} states explored, {violations} violations");
    violations == 0
}

fn print_mutants(args: &Args) -> bool {
    let generations = args
        .generation
        .map_or_else(|| vec![Generation::G2, Generation::G4, Generation::G5], |generation| vec![generation]);
    let mut is_clean = true;
    for generation in generations {
        let table = mutant::table(Variant::of(generation));
        println!("{table}\n");
        is_clean &= table.unexplained().count() == 0;
    }
    is_clean
}
