//! The census for people: a table that fits 100 columns, and how many of what there are.
//!
//! A handler on many functions is one row with the first of them; `-v` gives each function a row, and says below it
//! what the table has no room for.

use rcu_watch_core::report::handlers::{HandlerState, Place};
use rcu_watch_core::report::{HandlerReport, HandlerTotals, Header};

use crate::sink::text::block;
use crate::sink::text::phrase::{count, plural};
use crate::sink::text::style::Style;

const COLUMNS: usize = 100;
const GAP: usize = 2;
const HEADS: [&str; 5] = ["FUNCTION", "KIND", "HANDLER", "OWNER", "RUNS/MISSED"];
/// No column is made narrower than this.
const NARROW: usize = 11;

pub(super) fn head(header: &Header, verbose: bool) -> Vec<String> {
    let mut lines = vec![format!("{} {} on {}", header.tool, header.version, header.kernel.release)];
    lines.extend(block::not_seen(&header.blind_spots, verbose));
    lines
}

/// One row, and the handlers that it stands for.
pub(super) struct Row<'a> {
    pub(super) first: &'a HandlerReport,
    functions: usize,
}

pub(super) fn table(handlers: &[HandlerReport], verbose: bool, style: Style) -> Vec<String> {
    let handlers: Vec<_> = handlers.iter().collect();
    let rows = rows(&handlers, verbose);
    let rows = rows.iter().map(|row| (cells(row), below(row.first, verbose, style)));
    grid(HEADS, &rows.collect::<Vec<_>>(), style)
}

/// Rows below their heads, each with the lines that the table has no room for.
pub(super) fn grid(heads: [&str; 5], rows: &[([String; 5], Vec<String>)], style: Style) -> Vec<String> {
    let widths = widths(heads, rows);
    let line = |cells: [&str; 5]| {
        let parts = cells.iter().zip(widths).map(|(cell, width)| format!("{:width$}", fit(cell, width)));
        parts.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    let mut lines = Vec::new();
    if !rows.is_empty() {
        lines.push(style.faint(&line(heads)));
    }
    for (cells, below) in rows {
        lines.push(line(cells.each_ref().map(String::as_str)));
        lines.extend_from_slice(below);
    }
    lines
}

/// Handlers that differ in nothing but the function share a row.
pub(super) fn rows<'a>(handlers: &[&'a HandlerReport], verbose: bool) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut by_handler = std::collections::HashMap::new();
    for &handler in handlers {
        let HandlerReport { kind, name, program, link, owner, state, because, place, .. } = handler;
        // What nothing names is not known to be one handler.
        let is_one = !verbose && (program.is_some() || owner.is_some());
        let key = (kind, name, program, link, owner, (state, because, place));
        match by_handler.get(&key).filter(|_| is_one) {
            Some(&index) => {
                let row: &mut Row<'_> = &mut rows[index];
                row.functions += 1;
            }
            None => {
                by_handler.insert(key, rows.len());
                rows.push(Row { first: handler, functions: 1 });
            }
        }
    }
    rows
}

pub(super) fn cells(row: &Row<'_>) -> [String; 5] {
    let handler = row.first;
    let more = match row.functions {
        1 => String::new(),
        functions => format!(" and {} more", count(functions as u64 - 1)),
    };
    let program = handler.program.map(|id| format!("[{id}]")).unwrap_or_default();
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
    [
        format!("{}{more}", place(handler)),
        handler.kind.name().replace('_', " "),
        format!("{}{program}", handler.name),
        match &handler.owner {
            Some(owner) => owner.to_string(),
            None if handler.ours => "rcu-watch".to_owned(),
            None => "not told".to_owned(),
        },
        match (handler.runs, handler.misses) {
            (None, None) => String::new(),
            (runs, misses) => format!("{}/{}", number(runs), number(misses)),
        },
    ]
}

/// `arch_cpu_idle+0x5 [demo]`
fn place(handler: &HandlerReport) -> String {
    let Some(function) = &handler.function else {
        return match handler.place {
            Place::Elsewhere => "-".to_owned(),
            _ => "every function".to_owned(),
        };
    };
    let sympos = handler.sympos.map(|sympos| format!(",{sympos}")).unwrap_or_default();
    let offset = handler.offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default();
    let module = handler.module.as_ref().map(|module| format!(" [{module}]")).unwrap_or_default();
    format!("{function}{sympos}{offset}{module}")
}

/// What the table has no room for: why it does not run, and with `-v` all the rest.
pub(super) fn below(handler: &HandlerReport, verbose: bool, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let because = handler.because.as_deref().unwrap_or("nothing tells why");
    match handler.state {
        HandlerState::Dead => lines.push(style.bad(&format!("    DEAD: {because}"))),
        HandlerState::Off => lines.push(style.faint(&format!("    off: {because}"))),
        HandlerState::Alive => lines.extend(handler.because.as_ref().map(|note| format!("    {note}"))),
    }
    if verbose {
        let link = handler.link.map(|link| format!(", link {link}")).unwrap_or_default();
        let instance = handler.instance.as_ref().map(|name| format!(", instance {name}")).unwrap_or_default();
        let address = handler.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let owner = handler.owner.as_ref().map_or_else(|| "not told".to_owned(), ToString::to_string);
        let about = format!(
            "    {} of {owner}{instance}{link}; function at {address}; {}",
            handler.name,
            relies(handler)
        );
        lines.push(style.faint(&about));
    }
    lines
}

const fn relies(handler: &HandlerReport) -> &'static str {
    use rcu_watch_core::probe::Reliance;
    match handler.reliance {
        Reliance::Relies => "relies on RCU",
        Reliance::GuardsItself => "guards itself",
        Reliance::DoesNotRely => "does not rely on RCU",
        Reliance::EntryCounted => "RCU watches: entry counted",
        Reliance::SkippedByKernel => "skipped while RCU is off",
    }
}

/// As wide as what is in them; where that is too much, the widest give way.
fn widths(heads: [&str; 5], rows: &[([String; 5], Vec<String>)]) -> [usize; 5] {
    let mut widths = heads.map(str::len);
    for (cells, _) in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let room = COLUMNS - GAP * (widths.len() - 1);
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max() else { break };
        if *widest <= NARROW {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// Cut in the middle, where names differ least.
fn fit(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(2);
    let (front, back) = (kept - kept / 3, kept / 3);
    let mut cut: String = letters[..front].iter().collect();
    cut.push_str("..");
    cut.extend(&letters[letters.len() - back..]);
    cut
}

pub(super) fn totals(totals: &HandlerTotals, style: Style) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend((totals.dead > 0).then(|| style.bad(&format!("{} dead", count(totals.dead)))));
    parts.extend((totals.off > 0).then(|| format!("{} off", count(totals.off))));
    parts.extend((totals.ownerless > 0).then(|| format!("{} of no known owner", count(totals.ownerless))));
    parts.extend((totals.uprobes > 0).then(|| plural(totals.uprobes, "uprobe")));
    let kinds = totals
        .kinds
        .iter()
        .map(|total| format!("{} {}", count(total.count), total.kind.name().replace('_', " ")));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let mut line = plural(totals.handlers, "handler");
    if !kinds.is_empty() {
        line += &format!(": {kinds}");
    }
    if !parts.is_empty() {
        line += &format!("; {}", parts.join(", "));
    }
    vec![line]
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::{Owner, Reliance};
    use rcu_watch_core::report::handlers::HookKind;

    use super::*;

    fn handler(function: &str, name: &str) -> HandlerReport {
        let owner = Owner::Process {
            pid: 4711,
            comm: "bpftrace".to_owned(),
            cgroup: Some("cri-containerd-0123456789ab.scope".to_owned()),
            container: Some("0123456789ab".to_owned()),
            others: 0,
        };
        HandlerReport {
            function: Some(function.to_owned()),
            owner: Some(owner),
            program: Some(17),
            ..HandlerReport::new(HookKind::KprobeMulti, name.to_owned(), Reliance::Relies)
        }
    }

    #[test]
    fn the_table_fits_100_columns_whatever_is_in_it() {
        let long = handler(&"f".repeat(120), &"n".repeat(120));
        let lines = table(&[handler("vfs_read", "trace"), long], false, Style::default());
        assert_eq!(lines.len(), 3);
        for line in &lines {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(lines[2].contains("..fff") && lines[1].contains("trace[17]"), "{lines:#?}");
        let plain = HandlerReport { owner: None, ..handler("vfs_read", "trace") };
        let line = table(&[plain], false, Style::default()).remove(1);
        assert_eq!(line, "vfs_read  kprobe multi  trace[17]  not told");
    }

    #[test]
    fn one_handler_on_many_functions_is_one_row_and_with_v_a_row_each() {
        let handlers = ["a", "b", "c"].map(|function| handler(function, "trace"));
        let lines = table(&handlers, false, Style::default());
        assert!(lines.len() == 2 && lines[1].starts_with("a and 2 more  "), "{lines:#?}");
        assert_eq!(table(&handlers, true, Style::default()).len(), 7);
    }

    #[test]
    fn what_cannot_run_says_why_below_its_row() {
        let mut dead = handler("vfs_read", "trace");
        dead.stop(HandlerState::Dead, "kprobes are switched off");
        let lines = table(&[dead.clone()], false, Style::default());
        assert_eq!(lines[2], "    DEAD: kprobes are switched off");
        assert_eq!(
            totals(&HandlerTotals::of(&[dead], 2), Style::default()),
            ["1 handler: 1 kprobe multi; 1 dead, 2 uprobes"]
        );
    }
}
