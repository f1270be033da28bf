//! The manual page, from the one definition of the command line: the tool, then each command.

use std::io::{self, Write};

use anyhow::Result;
use clap::CommandFactory as _;
use clap_mangen::Man;
use rcu_watch_core::verdict::Exit;

use crate::cli::args::Cli;
use crate::sink;

pub(crate) fn run() -> Result<Exit> {
    sink::print(&page()?)?;
    Ok(Exit::Clean)
}

/// One page for all: a kernel engineer types `man rcu-watch` and searches.
fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let whole = Man::new(command.clone());
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    writeln!(page, ".SH COMMANDS")?;
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, ".TP\n\\fBrcu\\-watch {}\\fR\n{about}", sub.get_name().replace('-', "\\-"))?;
    }
    whole.render_extra_section(&mut page)?;
    whole.render_version_section(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command_and_option() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for word in ["rcu\\-watch probes", "\\-\\-fail\\-on", "\\-\\-ring\\-bytes", "Exit codes"] {
            assert!(page.contains(word), "{word}\n{page}");
        }
    }
}
