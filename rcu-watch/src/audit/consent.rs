//! What it will cost, said first; then a question on a terminal, elsewhere `--yes`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};

/// Says `cost`, and asks whether to go on. False: no.
///
/// # Errors
/// Where nobody can be asked and nobody said yes before.
pub(crate) fn ask(cost: &[String], yes: bool) -> Result<bool> {
    let mut err = io::stderr().lock();
    for line in cost {
        writeln!(err, "{line}")?;
    }
    if yes {
        return Ok(true);
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!("there is no terminal to ask on; add --yes to go on");
    }
    write!(err, "Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
