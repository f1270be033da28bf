//! Numbers, times and names in the words of the screen.

use rcu_watch_core::RuleId;
use rcu_watch_core::probe::{Handler, HandlerKind, Reliance};
use rcu_watch_core::report::OutputDropped;
use rcu_watch_core::units::{Counter, CpuId, Nanos};

/// When and where: the time as dmesg prints it, so that the two can be laid side by side.
pub(super) type At = (Nanos, Option<CpuId>);

pub(super) fn at((ts, cpu): At) -> String {
    let time = format!("[{:5}.{:06}]", ts.0 / 1_000_000_000, ts.0 / 1_000 % 1_000_000);
    match cpu {
        Some(cpu) => format!("{time} cpu{cpu}"),
        None => time,
    }
}

/// `41,203`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 function`, `7 functions`
pub(super) fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A nesting level in decimal; a large one in hex, since that is how NI (2^62) in it can be recognised.
pub(super) fn counter(counter: Counter) -> String {
    if counter.0.unsigned_abs() < 1 << 16 { counter.0.to_string() } else { counter.to_string() }
}

pub(super) const fn seconds(elapsed: Nanos) -> u64 {
    elapsed.0 / 1_000_000_000
}

/// `00:31`, `1:02:03`
pub(super) fn clock(elapsed: Nanos) -> String {
    let all = seconds(elapsed);
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

pub(super) fn bytes(number: u64) -> String {
    match number {
        1_048_576.. => format!("{:.1} MiB", number as f64 / 1_048_576.0),
        1024.. => format!("{} KiB", number / 1024),
        _ => format!("{number} B"),
    }
}

pub(super) const fn kind(kind: HandlerKind) -> &'static str {
    match kind {
        HandlerKind::Livepatch => "livepatch",
        HandlerKind::FtraceOps => "ftrace ops",
        HandlerKind::Kprobe => "kprobe",
        HandlerKind::Bpf => "bpf",
    }
}

/// `livepatch lp_idle`, `bpf trace_idle[42] of bpftrace[4711] (session-3.scope)`, `ftrace ops stack_trace_call (guards itself)`
pub(super) fn handler(handler: &Handler) -> String {
    let note = match handler.reliance {
        Reliance::Relies => "",
        Reliance::GuardsItself => " (guards itself)",
        Reliance::DoesNotRely => " (does not rely on RCU)",
        Reliance::EntryCounted => " (entry counted)",
        Reliance::SkippedByKernel => " (skipped while RCU is off)",
    };
    let event = handler.event.as_ref().map(|event| format!(" ({event})")).unwrap_or_default();
    let program = handler.program.map(|id| format!("[{id}]")).unwrap_or_default();
    let owner = handler.owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
    let ours = if handler.ours { " (rcu-watch's own)" } else { "" };
    format!("{} {}{event}{program}{owner}{ours}{note}", kind(handler.kind), handler.name)
}

/// ` <- livepatch lp_idle`. That no handler is there is only said of an exposed function, where it matters.
pub(super) fn handlers_of(rule: RuleId, all: &[Handler]) -> String {
    match all {
        [] if rule == RuleId::ExposedFunction => " <- our own probe only".to_owned(),
        [] => String::new(),
        all => format!(" <- {}", handlers(all)),
    }
}

pub(super) fn handlers(all: &[Handler]) -> String {
    all.iter().map(handler).collect::<Vec<_>>().join(", ")
}

/// What a reader that had stopped did not get.
pub(super) fn dropped(dropped: &OutputDropped) -> String {
    let OutputDropped { messages, findings } = *dropped;
    format!(
        "{}, {} among them: the reader took nothing for a time",
        plural(messages, "message"),
        plural(findings, "finding")
    )
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::probe::Owner;

    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn time_is_dmesgs() {
        assert_eq!(at((Nanos(41_002_318_999), Some(CpuId(3)))), "[   41.002318] cpu3");
        assert_eq!(at((Nanos(5), None)), "[    0.000000]");
    }

    #[test]
    fn a_counter_is_decimal_until_it_holds_a_bias() {
        let shown = [0, -2, 0x4000_0000_0000_0002].map(|raw| counter(Counter(raw)));
        assert_eq!(shown, ["0", "-2", "0x4000000000000002"]);
    }

    #[test]
    fn a_program_of_rcu_watch_is_said_to_be_its_own() {
        let ours = Handler {
            kind: HandlerKind::Bpf,
            name: "bpf_prog_5fbb2b4b9d3c71e2_rcuw_fentry_00".to_owned(),
            event: None,
            program: None,
            reliance: Reliance::Relies,
            ours: true,
            owner: None,
        };
        assert_eq!(handler(&ours), "bpf bpf_prog_5fbb2b4b9d3c71e2_rcuw_fentry_00 (rcu-watch's own)");
    }

    #[test]
    fn a_handler_is_named_with_whose_it_is() {
        let owner = Owner::Process {
            pid: 4711,
            comm: "bpftrace".to_owned(),
            cgroup: Some("session-3.scope".to_owned()),
            container: None,
            others: 0,
        };
        let handler = Handler {
            kind: HandlerKind::Bpf,
            name: "trace_idle".to_owned(),
            event: None,
            program: Some(42),
            reliance: Reliance::EntryCounted,
            ours: false,
            owner: Some(owner),
        };
        let whose = "bpf trace_idle[42] of bpftrace[4711] (session-3.scope) (entry counted)";
        assert_eq!(super::handler(&handler), whose);
    }

    #[test]
    fn a_run_of_hours_shows_them() {
        assert_eq!(clock(Nanos(31_000_000_000)), "00:31");
        assert_eq!(clock(Nanos(3_723_000_000_000)), "1:02:03");
    }
}
