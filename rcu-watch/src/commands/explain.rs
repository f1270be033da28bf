//! A rule's page, as the rules themselves have it; without a rule, the list of them.

use anyhow::Result;
use rcu_watch_core::RuleId;
use rcu_watch_core::rules::{RULES, Rule, explain};
use rcu_watch_core::verdict::Exit;

use crate::sink;

/// Wide enough for the pages, and what a terminal and a mail both show.
const WIDTH: usize = 88;

pub(crate) fn run(rule: Option<RuleId>) -> Result<Exit> {
    let text = match rule {
        Some(rule) => wrap(&explain::text(rule)),
        None => list(),
    };
    sink::print(text.as_bytes())?;
    Ok(Exit::Clean)
}

fn list() -> String {
    let line = |rule: &Rule| {
        let means = wrap(&format!("    {}", rule.page.means));
        format!("{} {} ({})\n{means}\n", rule.code, rule.name, rule.severity)
    };
    RULES.iter().map(line).collect()
}

/// Breaks long lines between words; a line's indentation is kept on what it is broken into.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut width = 0;
        for word in line.split_whitespace() {
            if width == 0 {
                out.push_str(indent);
                width = indent.len();
            } else if width + 1 + word.chars().count() > WIDTH {
                out.push('\n');
                out.push_str(indent);
                width = indent.len();
            } else {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += word.chars().count();
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_keep_their_indentation() {
        let text = format!("title\n\n    {}\n", "word ".repeat(40));
        let wrapped = wrap(&text);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert_eq!(wrapped.matches("word").count(), 40);
        assert!(wrapped.lines().skip(2).all(|line| line.starts_with("    word")), "{wrapped}");
        assert!(wrapped.starts_with("title\n\n"));
    }

    #[test]
    fn the_list_has_every_rule() {
        let list = list();
        assert!(RULES.iter().all(|rule| list.contains(&format!("{} {} (", rule.code, rule.name))));
    }
}
