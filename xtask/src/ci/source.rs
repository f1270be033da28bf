//! Rules about the source text itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cache;

/// What the core must not name: it takes bytes and time as arguments.
const IMPURE: [&str; 7] =
    ["aya", "tokio", "std::fs", "std::time::Instant", "SystemTime", "println", "unsafe"];
const LINES_MAX: usize = 500;

pub fn core_is_pure() -> Result<()> {
    let mut found = Vec::new();
    for file in rust_files(&cache::workspace().join("rcu-watch/core/src"))? {
        let text = fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = impure_word(line) {
                found.push(format!("{}:{}: names {word}", file.display(), number + 1));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { bail!("the core must be pure:\n{}", found.join("\n")) }
}

/// Comments may speak of what the code must not name.
fn impure_word(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or(line);
    IMPURE.into_iter().find(|word| {
        code.match_indices(word).any(|(at, _)| {
            let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !part_of_name(code[..at].chars().next_back())
                && !part_of_name(code[at + word.len()..].chars().next())
        })
    })
}

pub fn files_are_short() -> Result<()> {
    let mut long = Vec::new();
    for package in ["rcu-watch", "rcu-watch/core", "rcu-watch-common", "rcu-watch-ebpf", "xtask"] {
        for file in rust_files(&cache::workspace().join(package).join("src"))? {
            let lines = fs::read_to_string(&file)?.lines().count();
            if lines > LINES_MAX {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    if long.is_empty() { Ok(()) } else { bail!("more than {LINES_MAX} lines:\n{}", long.join("\n")) }
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_and_a_part_of_one_or_a_comment_does_not() {
        assert_eq!(impure_word("use aya::maps::RingBuf;"), Some("aya"));
        assert_eq!(impure_word("    let now = std::time::Instant::now();"), Some("std::time::Instant"));
        assert_eq!(impure_word("let malaya = 1; // aya reads it"), None);
        assert_eq!(impure_word("#![forbid(unsafe_code)]"), None);
    }
}
