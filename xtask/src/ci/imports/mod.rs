//! The drawing of the imports: no arrow up, and no circle between files.
//!
//! docs/architecture.md says which module of rcu-watch may name which; what each file names is read from its source.
//! The compiler holds the walls between crates, and nothing but this those within one.

mod circle;
mod source;
mod table;
mod tree;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::cache;
use crate::process::say;
use table::Table;
use tree::Tree;

const PAGE: &str = "docs/architecture.md";
/// The crate whose modules the page's table is about.
const LAYERED: &str = "rcu-watch/src/lib.rs";
/// The roots of the others, in which only circles are looked for.
const ROOTS: [&str; 4] =
    ["rcu-watch/core/src/lib.rs", "xtask/src/lib.rs", "xtask/src/main.rs", "xtask/src/bin/lab_init/main.rs"];

pub(super) fn check() -> Result<()> {
    let page =
        fs::read_to_string(cache::workspace().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let table = Table::read(&page).map_err(|why| anyhow!("{PAGE}: {why}"))?;
    let layered = read(LAYERED)?;
    let mut wrong = table.breaches(&layered);
    let mut files = layered.len();
    wrong.extend(circle::circles(&layered));
    for root in ROOTS {
        let tree = read(root)?;
        files += tree.len();
        wrong.extend(circle::circles(&tree));
    }
    if !wrong.is_empty() {
        bail!("{} arrows up or circles; {PAGE} says who may name whom:\n{}", wrong.len(), wrong.join("\n"));
    }
    say(&format!("{files} files: no arrow up, no circle"));
    Ok(())
}

fn read(root: &str) -> Result<Tree> {
    Tree::read(Path::new(root), cache::workspace())
}
