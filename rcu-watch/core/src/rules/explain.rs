//! A page for each rule: what `rcu-watch explain` prints and `docs/rules.md` is made of.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use super::pages::Page;
use super::table::{RULES, Rule};
use crate::finding::RuleId;

/// How the pages write the words.
pub const NOTATION: &str = "S is RCU's state word of a CPU and W its watching bit; N counts tasks, M irqs and \
NMIs (up to 4.15 N counts irqs too, M only NMIs); NI is M of ordinary code, 1<<62 (0 up to 4.15); P is \
preempt_count; C is the context in S (6.0 and later). EQS: extended quiescent state, idle or user space \
without a tick.";

/// One page as text for a terminal.
#[must_use]
pub fn text(rule: RuleId) -> String {
    let row = rule.row();
    let mut out = format!("{} {} ({})\n\n{}\n", row.code, row.name, row.severity, row.page.means);
    for (title, body) in sections(&row.page) {
        let _ = write!(out, "\n{title}\n    {body}\n");
    }
    let _ = write!(out, "\n{NOTATION}\n");
    out
}

/// All pages as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!(
        "<!-- Generated from rcu-watch/core/src/rules/explain.rs by `cargo xtask model --docs`. -->\n\
         # Rules\n\nIds are stable and never reused. `rcu-watch explain RW001` prints one page. What the words\nhold, when, and on which kernel: [kernel.md](kernel.md).\n\n{NOTATION}\n\n\
         | id | name | severity |\n| --- | --- | --- |\n"
    );
    for Rule { code, name, severity, .. } in RULES {
        let _ = writeln!(out, "| [{code}](#{}-{name}) | {name} | {severity} |", code.to_lowercase());
    }
    for Rule { code, name, severity, page, .. } in RULES {
        let _ = write!(out, "\n## {code} {name}\n\n{}\n", page.means);
        let _ = write!(out, "\n- **Severity**: {severity}\n");
        for (title, body) in sections(page) {
            let _ = writeln!(out, "- **{title}**: {body}");
        }
    }
    out
}

/// The list of rules as the README has it.
#[must_use]
pub fn readme_table() -> String {
    let mut out = "| rule | severity | a finding means |\n| --- | --- | --- |\n".to_owned();
    for Rule { code, name, severity, page, .. } in RULES {
        let link = format!("docs/rules.md#{}-{name}", code.to_lowercase());
        let _ = writeln!(out, "| [{code} {name}]({link}) | {severity} | {} |", page.means);
    }
    out
}

fn sections(page: &Page) -> [(&'static str, &'static str); 5] {
    [
        ("Why it matters", page.matters),
        ("Fires when", page.fires),
        ("Silent on", page.silent),
        ("Comes from", page.origin),
        ("What to do", page.remedy),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_page_with_nothing_left_out() {
        for Rule { code, page, .. } in RULES {
            for (title, body) in sections(page) {
                assert!(body.len() > 5 && body.ends_with(['.', '?']), "{code} {title}");
                assert!(!body.contains("  "), "{code} {title}");
            }
        }
    }

    #[test]
    fn a_page_shows_its_rule_and_the_notation() {
        let text = text(RuleId::NmiEdge);
        assert!(text.starts_with("RW003 nmi-edge (error where"));
        assert!(text.contains("Fires when\n    a probe in an NMI"));
        assert!(text.ends_with(&format!("{NOTATION}\n")));
    }
}
