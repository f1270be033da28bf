//! `cargo xtask model`: what the model of RCU's algorithm proves, and the pages that are made of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rcu_watch_core::model::generation::Generation;
use rcu_watch_core::model::variant::Variant;
use rcu_watch_core::model::{guarded, mutant, proof};
use rcu_watch_core::rules::explain;

use crate::cache;

#[derive(Debug, Args)]
pub(crate) struct Model {
    /// Only the kernels of this generation: G0a, G0b, G1 .. G5
    #[arg(long, value_parser = generation)]
    generation: Option<Generation>,
    /// How deep irqs, exceptions and NMIs nest
    #[arg(long, default_value_t = proof::DEPTH, value_parser = depth)]
    depth: usize,
    /// Print what catches each fault of the algorithm; for G2, G4 and G5 where none is named
    #[arg(long)]
    mutants: bool,
    /// Write docs/rules.md and docs/guards.md anew
    #[arg(long, conflicts_with_all = ["generation", "depth", "mutants"])]
    docs: bool,
}

fn generation(name: &str) -> Result<Generation, String> {
    Generation::named(name).ok_or_else(|| {
        let all = Generation::ALL.map(|generation| generation.to_string()).join(", ");
        format!("no generation is called {name}; there are {all}")
    })
}

fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(depth @ 1..=5) => Ok(depth),
        _ => Err("the model nests 1 to 5 deep; 3 takes seconds, 4 minutes".to_owned()),
    }
}

pub(crate) fn model(args: &Model) -> Result<()> {
    if args.docs {
        return write_pages(cache::workspace());
    }
    let is_clean =
        if args.mutants { print_mutants(args.generation) } else { print_proofs(args.generation, args.depth) };
    if !is_clean {
        bail!("the model is not clean; what it found is printed above");
    }
    Ok(())
}

fn write_pages(workspace: &Path) -> Result<()> {
    for (page, text) in [("docs/rules.md", explain::markdown()), ("docs/guards.md", guarded::markdown())] {
        let page = workspace.join(page);
        fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(())
}

fn print_proofs(only: Option<Generation>, depth: usize) -> bool {
    let (mut states, mut violations) = (0, 0);
    for variant in Variant::ALL {
        if only.is_some_and(|only| only != variant.generation) {
            continue;
        }
        let proof = proof::prove(variant, depth);
        states += proof.states;
        violations += proof.violation_count();
        println!("{proof}");
    }
    println!("{states} states explored, {violations} violations");
    violations == 0
}

fn print_mutants(only: Option<Generation>) -> bool {
    let generations =
        only.map_or_else(|| vec![Generation::G2, Generation::G4, Generation::G5], |only| vec![only]);
    let mut is_clean = true;
    for generation in generations {
        let table = mutant::table(Variant::of(generation));
        println!("{table}\n");
        is_clean &= table.unexplained().count() == 0;
    }
    is_clean
}
