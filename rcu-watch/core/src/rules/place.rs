//! RW011, RW012 and RW014: rules that go by where the CPU or the code is, not by the words alone.

use super::{Hit, Verdicts};
use crate::finding::{RuleId, Severity};
use crate::model::kernel::TextRange;
use crate::probe::{Mechanism, Reliance};
use crate::units::Address;

pub(super) fn judge(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    offline(hit, verdicts);
    writer(hit, verdicts);
    sample(hit, verdicts);
}

/// W is 1 on a CPU that RCU has not been told of yet, or no more: only the mask tells.
fn offline(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let Some(online) = hit.snapshot.rcu_online else {
        return;
    };
    if hit.nmi_depth > 0 || hit.probe.is_rcu_internal || hit.probe.mechanism == Mechanism::Watchpoint {
        return;
    }
    verdicts.judging(RuleId::RcuOffline);
    if online {
        return;
    }
    if hit.foreign_handlers().any(|handler| handler.reliance == Reliance::Relies) {
        verdicts.fire(
            RuleId::RcuOffline,
            Severity::Error,
            "somebody's handler ran on a CPU that RCU takes for offline and does not wait for",
        );
    } else {
        verdicts.fire(
            RuleId::RcuOffline,
            Severity::Warning,
            "a function that can be hooked ran on a CPU that RCU takes for offline",
        );
    }
}

/// Who wrote. The writing instruction may be inlined into a caller, and both directions folded into one body.
fn writer(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let writers = &hit.kernel.text.writers;
    if hit.probe.mechanism != Mechanism::Watchpoint || writers.is_empty() {
        return;
    }
    let Some(regs) = &hit.snapshot.regs else {
        return;
    };
    verdicts.judging(RuleId::UnknownWriter);
    let known = |address| holds(writers, address);
    if regs.user_mode || !(known(regs.ip) || hit.snapshot.caller.is_some_and(known)) {
        verdicts.fire(
            RuleId::UnknownWriter,
            Severity::Error,
            "an instruction outside RCU and context tracking wrote a state word",
        );
    }
}

/// What an NMI found. Registers and words of a sample are of the same moment: the interruption.
fn sample(hit: &Hit<'_>, verdicts: &mut Verdicts) {
    let text = &hit.kernel.text;
    if !hit.probe.is_sample(hit.snapshot) || text.uninstrumentable.is_empty() {
        return;
    }
    let Some(regs) = hit.snapshot.regs.filter(|regs| !regs.user_mode) else {
        return;
    };
    verdicts.judging(RuleId::SampledInEqs);
    if hit.m() != 1 || hit.under_watching || holds(&text.uninstrumentable, regs.ip) {
        return;
    }
    if holds(&text.known_victims, regs.ip) {
        verdicts.fire(
            RuleId::SampledInEqs,
            Severity::Info,
            "an NMI interrupted a function that this kernel is known to run with RCU off",
        );
    } else {
        verdicts.fire(
            RuleId::SampledInEqs,
            Severity::Error,
            "an NMI interrupted code that can be hooked while RCU was not watching",
        );
    }
}

fn holds(ranges: &[TextRange], address: Address) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::Generation;
    use crate::model::kernel::TextMap;
    use crate::probe::{HandlerKind, Point};
    use crate::rules::tests::{NI, NMI, fired, handler, idle, in_task, kernel, probe};
    use crate::snapshot::{Regs, Snapshot};

    fn at(ip: u64, snapshot: Snapshot<'static>) -> Snapshot<'static> {
        Snapshot { regs: Some(Regs { ip: Address(ip), ..Regs::default() }), ..snapshot }
    }

    fn mapped() -> crate::model::kernel::KernelModel {
        let range = |start, end| vec![TextRange { start: Address(start), end: Address(end) }];
        let mut kernel = kernel(Generation::G5);
        kernel.text = TextMap {
            uninstrumentable: range(0x100, 0x200),
            known_victims: range(0x300, 0x400),
            writers: range(0x100, 0x180),
        };
        kernel
    }

    #[test]
    fn a_cpu_that_rcu_takes_for_offline_is_no_place_for_a_handler() {
        let offline = Snapshot { rcu_online: Some(false), ..idle(4, 1, NI, 0) };
        let mut probe = probe(Point::CpuOffline, Mechanism::Fentry);
        assert_eq!(fired(&mapped(), &probe, &offline), [("RW011", Severity::Warning)]);
        probe.handlers = vec![handler(HandlerKind::Bpf, Reliance::Relies)];
        assert_eq!(fired(&mapped(), &probe, &offline), [("RW011", Severity::Error)]);
        let in_nmi = Snapshot { rcu_online: Some(false), ..idle(4, 1, NI + 2, NMI) };
        assert_eq!(fired(&mapped(), &probe, &in_nmi), []);
        let online = Snapshot { rcu_online: Some(true), ..offline };
        assert_eq!(fired(&mapped(), &probe, &online), []);
    }

    #[test]
    fn a_stranger_that_writes_is_named_by_ip_and_caller() {
        let watch = probe(Point::EqsEnter, Mechanism::Watchpoint);
        let hit = in_task(4, 1, NI + 2, NMI);
        assert_eq!(fired(&mapped(), &watch, &at(0x500, hit)), [("RW012", Severity::Error)]);
        assert_eq!(fired(&mapped(), &watch, &at(0x110, hit)), []);
        let called = Snapshot { caller: Some(Address(0x110)), ..at(0x500, hit) };
        assert_eq!(fired(&mapped(), &watch, &called), []);
        assert_eq!(fired(&kernel(Generation::G5), &watch, &at(0x500, hit)), []);
    }

    #[test]
    fn a_sample_in_hookable_code_of_an_eqs_is_an_error_and_of_a_known_victim_info() {
        let sampler = probe(Point::NmiEnter, Mechanism::Fentry);
        let in_eqs = idle(5, 0, 1, NMI);
        assert_eq!(fired(&mapped(), &sampler, &at(0x500, in_eqs)), [("RW014", Severity::Error)]);
        assert_eq!(fired(&mapped(), &sampler, &at(0x300, in_eqs)), [("RW014", Severity::Info)]);
        assert_eq!(fired(&mapped(), &sampler, &at(0x150, in_eqs)), []);
        assert_eq!(fired(&mapped(), &sampler, &at(0x500, idle(5, 0, 3, NMI + NMI))), []);
    }
}
