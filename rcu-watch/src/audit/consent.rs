//! What it will cost, said first; then a question on a terminal, elsewhere `--yes`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use rcu_watch_core::shown::shown;
use rcu_watch_core::verdict::Exit;

use crate::sink::StandardError;

/// Says `cost`, and asks whether to go on; where not, how the process ends.
///
/// # Errors
/// Where nobody can be asked and nobody said yes before.
pub(crate) fn ask(cost: &[String], yes: bool) -> Result<Option<Exit>> {
    let mut err = StandardError;
    for line in cost {
        writeln!(err, "{}", shown(line))?;
    }
    if yes {
        return Ok(None);
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        bail!("there is no terminal to ask on; add --yes to go on");
    }
    write!(err, "Go on? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(declined(&answer))
}

/// What was not looked at is not clean: a script must not go on as if it were.
fn declined(answer: &str) -> Option<Exit> {
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    (!is_yes).then_some(Exit::Inconclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_say_yes_has_no_verdict() {
        for answer in ["n\n", "no\n", "\n", "", "yesterday\n"] {
            assert_eq!(declined(answer).map(Exit::code), Some(3), "{answer:?}");
        }
        assert_eq!([declined("y\n"), declined(" YES \n")], [None, None]);
    }
}
