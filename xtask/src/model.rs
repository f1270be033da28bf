//! `cargo xtask model`: what the model of RCU's algorithm proves, printed by rcu-watch's own code.
//!
//! xtask must build without the BPF programs, so this runs an example of rcu-watch instead of linking it. The
//! test profile is the one whose proofs `cargo test` has built already.

use anyhow::{Result, bail};
use clap::Args;

use crate::cache;
use crate::process::cargo;
use crate::setup::{self, For};

#[derive(Debug, Args)]
pub struct Model {
    /// Only the kernels of this generation: G0a, G0b, G1 .. G5
    #[arg(long)]
    generation: Option<String>,
    /// How deep irqs, exceptions and NMIs nest
    #[arg(long, default_value_t = 3)]
    depth: u8,
    /// Print what catches each fault of the algorithm
    #[arg(long)]
    mutants: bool,
    /// Write docs/rules.md and docs/guards.md anew
    #[arg(long, conflicts_with_all = ["generation", "depth", "mutants"])]
    docs: bool,
}

pub fn model(args: &Model) -> Result<()> {
    setup::ensure(&[For::Build])?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "--profile", "test", "--package", "rcu-watch"]);
    command.args(["--example", "model", "--"]);
    if args.docs {
        command.arg("--docs").arg(cache::workspace());
    } else {
        command.arg("--depth").arg(args.depth.to_string());
        if let Some(generation) = &args.generation {
            command.args(["--generation", generation]);
        }
        if args.mutants {
            command.arg("--mutants");
        }
    }
    let status = command.status()?;
    if !status.success() {
        bail!("the model is not clean: {status}; what it found is printed above");
    }
    Ok(())
}
