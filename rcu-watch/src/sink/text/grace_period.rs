//! A grace period that lasts, and who holds it.

use rcu_watch_core::report::GracePeriod;

use crate::sink::text::finding::held_by;
use crate::sink::text::phrase::{self, At};
use crate::sink::text::style::Style;

pub(super) fn lines(at: At, period: &GracePeriod, style: Style) -> Vec<String> {
    let GracePeriod { flavour, seq, age_ns, over, waited_for, .. } = period;
    let state = if *over { "over after" } else { "in progress for" };
    let age = phrase::seconds(*age_ns);
    let mut lines =
        vec![format!("{} {} grace period {seq}: {state} {age} s", phrase::at(at), flavour.name())];
    for holder in waited_for {
        lines.push(format!("    {}", held_by(holder)));
        lines.extend(holder.stack.iter().map(|frame| style.faint(&format!("      {}", frame.label()))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use rcu_watch_core::report::finding::Holder;
    use rcu_watch_core::report::grace_period::Flavour;
    use rcu_watch_core::units::{CpuId, Nanos, WideNumber};

    use super::*;

    #[test]
    fn a_grace_period_names_who_holds_it() {
        let holder = Holder {
            cpu: Some(CpuId(1)),
            state: "preemption is off".to_owned(),
            since_ns: Some(Nanos(3_000_000_000)),
            ..Holder::default()
        };
        let period = GracePeriod {
            flavour: Flavour::Rcu,
            seq: WideNumber(4321),
            age_ns: Nanos(12_345_678_901),
            warns_at_ns: None,
            over: false,
            waited_for: vec![holder],
        };
        let lines = lines((Nanos(1_000_000_000), None), &period, Style { color: false });
        assert_eq!(
            lines,
            [
                "[    1.000000] rcu grace period 4321: in progress for 12 s",
                "    held by cpu 1 for 3 s: preemption is off",
            ]
        );
    }
}
