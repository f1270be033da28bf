//! The status line, and whatever went missing on the way.

use rcu_watch_core::report::{Heartbeat, Lost, Missed, OutputDropped, ProbeError};

use crate::sink::text::phrase::{self, At, count};

/// Seconds between plain status lines where there is no terminal.
pub(super) const EVERY_S: u64 = 60;

/// `00:10 ok  41,203 switches, 812 handler calls judged; 18,212 idle entries; breaks 0; lost 0; cost 0.04%`
pub(super) fn line(now: &Heartbeat) -> String {
    let state = match now {
        Heartbeat { findings: 1.., .. } => "BREAK",
        Heartbeat { lost: 1.., .. } => "LOSS",
        _ => "ok",
    };
    let missed = if now.missed > 0 { format!(", missed {}", count(now.missed)) } else { String::new() };
    let cost = match now.kernel_cost_percent {
        Some(kernel) => format!("cost {kernel:.2}% + {:.2}%", now.user_cost_percent),
        None => format!("cost {:.2}% here, BPF run time not counted by this kernel", now.user_cost_percent),
    };
    format!(
        "{} {state}  {} switches, {} handler calls judged; {} idle entries; breaks {}; lost {}{missed}; {cost}",
        phrase::clock(now.elapsed_ns),
        count(now.checkpoints),
        count(now.handler_calls),
        count(now.idle_entries),
        count(now.findings),
        count(now.lost),
    )
}

pub(super) fn lost(at: At, lost: &Lost) -> String {
    format!(
        "{} LOST {} of {}: the ring buffer was full; a larger one: --ring-bytes",
        phrase::at(at),
        phrase::plural(lost.count, "record"),
        lost.symbol
    )
}

pub(super) fn missed(at: At, missed: &Missed) -> String {
    let runs = phrase::plural(missed.count, "run");
    format!(
        "{} MISSED {runs} of {}: the kernel's recursion guard skipped them",
        phrase::at(at),
        missed.symbol
    )
}

/// Said where findings are said, since some of these may be missing.
pub(super) fn output_dropped(at: At, dropped: &OutputDropped) -> String {
    format!("{} NOT WRITTEN {}", phrase::at(at), phrase::dropped(dropped))
}

pub(super) fn probe_error(at: At, error: &ProbeError) -> String {
    format!("{} probe {}: {}", phrase::at(at), error.symbol, error.error)
}
