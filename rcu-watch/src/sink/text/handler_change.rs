//! What changed between two censuses, for people: the census' table with a word for each row, or one line.

use rcu_watch_core::report::handler_change::{Basis, ChangeKind, StateBefore};
use rcu_watch_core::report::handlers::HandlerState;
use rcu_watch_core::report::{HandlerChange, HandlerChangeTotals};

use crate::sink::text::handlers::{below, cells, grid, rows};
use crate::sink::text::phrase::{count, plural};
use crate::sink::text::style::Style;

const HEADS: [&str; 5] = ["CHANGE", "FUNCTION", "KIND", "HANDLER", "OWNER"];

pub(super) fn table(
    changes: &[HandlerChange],
    totals: &HandlerChangeTotals,
    verbose: bool,
    style: Style,
) -> Vec<String> {
    if changes.is_empty() {
        return vec![no_change(totals)];
    }
    // Changes of one word, and what they were before, come one after another and share rows among themselves.
    let same = |a: &HandlerChange, b: &HandlerChange| a.change == b.change && a.before == b.before;
    let mut lines = Vec::new();
    for changes in changes.chunk_by(same) {
        let (word, before) = (changes[0].change, changes[0].before.as_ref());
        let handlers: Vec<_> = changes.iter().map(|change| &change.handler).collect();
        for row in rows(&handlers, verbose) {
            let [function, kind, handler, owner, _] = cells(&row);
            let mut lines_below = below(row.first, verbose, style);
            lines_below.extend(before.filter(|_| word == ChangeKind::Back).map(|before| was(before, style)));
            lines.push(([word.name().to_owned(), function, kind, handler, owner], lines_below));
        }
    }
    grid(HEADS, &lines, style)
}

fn was(before: &StateBefore, style: Style) -> String {
    let word = if before.state == HandlerState::Dead { "DEAD" } else { "off" };
    let because = before.because.as_deref().unwrap_or("nothing tells why");
    style.faint(&format!("    was {word}: {because}"))
}

fn no_change(totals: &HandlerChangeTotals) -> String {
    let verb = if totals.unchanged == 1 { "is" } else { "are" };
    let limit = if totals.uncompared.is_empty() { "" } else { " in what could be compared" };
    format!("no change{limit}: {} {verb} as before", plural(totals.unchanged, "handler"))
}

/// How many of what, and what the comparison cannot tell.
pub(super) fn totals(totals: &HandlerChangeTotals) -> Vec<String> {
    let HandlerChangeTotals { new, gone, silent, back, unchanged, untold, basis, old, .. } = totals;
    let mut lines = Vec::new();
    if totals.changes() > 0 {
        let words = [(gone, "gone"), (silent, "silent"), (new, "new"), (back, "back")];
        let words = words.into_iter().filter(|(number, _)| **number > 0);
        let words: Vec<_> = words.map(|(number, word)| format!("{} {word}", count(*number))).collect();
        lines.push(format!("{}; {} as before", words.join(", "), count(*unchanged)));
    }
    if *untold > 0 {
        let what = plural(*untold, "more difference");
        lines.push(format!("{what} may come from lists that only one of the two could read"));
    }
    if *basis == Basis::Names {
        lines.push(format!(
            "compared by names and places: the earlier list is of another boot ({} on {})",
            old.release, old.host
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::Reliance;
    use rcu_watch_core::report::HandlerReport;
    use rcu_watch_core::report::handler_change::{Census, ListedOn, Uncompared};
    use rcu_watch_core::report::handlers::HookKind;

    use super::*;

    fn change(change: ChangeKind, function: &str, state: HandlerState) -> HandlerChange {
        let mut handler = HandlerReport {
            function: Some(function.to_owned()),
            program: Some(17),
            ..HandlerReport::new(HookKind::KprobeMulti, "trace".to_owned(), Reliance::Relies)
        };
        if state != HandlerState::Alive {
            handler.stop(state, "kprobes are switched off");
        }
        HandlerChange { change, handler, before: None }
    }

    fn totals_of(gone: u64, basis: Basis) -> HandlerChangeTotals {
        let old = ListedOn { host: "lab".into(), boot_id: "b".into(), release: "6.12.0".into() };
        let (silent, back, untold) = (0, 0, 0);
        HandlerChangeTotals {
            new: 0,
            gone,
            silent,
            back,
            unchanged: 12,
            untold,
            basis,
            old,
            uncompared: Vec::new(),
        }
    }

    fn lines(changes: &[HandlerChange]) -> Vec<String> {
        table(changes, &totals_of(1, Basis::SameBoot), false, Style::default())
    }

    #[test]
    fn each_row_says_what_became_of_it_and_fits_100_columns() {
        let long = change(ChangeKind::New, &"f".repeat(200), HandlerState::Alive);
        let gone = |function| change(ChangeKind::Gone, function, HandlerState::Alive);
        let lines = lines(&[gone("vfs_read"), gone("vfs_open"), long]);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[1].starts_with("gone    vfs_read and 1 more"), "{lines:#?}");
        assert!(lines[2].starts_with("new     fff"), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
    }

    #[test]
    fn what_fell_silent_says_why_and_what_is_back_why_it_was_silent() {
        let mut back = change(ChangeKind::Back, "vfs_open", HandlerState::Alive);
        let because = Some("[DISABLED] by its owner".to_owned());
        back.before = Some(StateBefore { state: HandlerState::Off, because });
        let lines = lines(&[change(ChangeKind::Silent, "vfs_read", HandlerState::Dead), back]);
        assert_eq!(lines[2], "    DEAD: kprobes are switched off");
        assert_eq!(lines[4], "    was off: [DISABLED] by its owner");
    }

    #[test]
    fn no_change_is_one_line_and_says_where_not_all_was_compared() {
        assert_eq!(lines(&[]), ["no change: 12 handlers are as before"]);
        let lacking = Uncompared { list: "kprobes".into(), unread: Census::Now };
        let partly = HandlerChangeTotals { uncompared: vec![lacking], ..totals_of(0, Basis::SameBoot) };
        let line = table(&[], &partly, false, Style::default()).remove(0);
        assert_eq!(line, "no change in what could be compared: 12 handlers are as before");
    }

    #[test]
    fn another_boot_is_told() {
        let lines = totals(&totals_of(1, Basis::Names));
        assert_eq!(lines[0], "1 gone; 12 as before");
        assert!(lines[1].ends_with("the earlier list is of another boot (6.12.0 on lab)"), "{lines:?}");
    }
}
