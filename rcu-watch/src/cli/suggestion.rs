//! The command that was meant, for a word that is none.

use clap::CommandFactory as _;

use crate::cli::args::Cli;
use crate::cli::value::nearest;

/// The command that is spelt most like it, if any is.
#[must_use]
pub fn command(typed: &str) -> Option<String> {
    let root = Cli::command();
    nearest(typed, root.get_subcommands().map(|command| command.get_name().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_answered_with_the_one_that_was_meant() {
        assert_eq!(command("docter").as_deref(), Some("doctor"));
        assert_eq!(command("--fomat"), None);
    }
}
