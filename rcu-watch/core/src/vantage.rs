//! From where a snapshot was taken, and what that says of the code under it.
//!
//! A hook that runs in the probed context itself sees the words as they were. One reached through an
//! exception sees them after the entry counted itself: RCU always watches there, and M tells what was
//! interrupted. [`underlying`] takes the entry back out; it is proven over the model's whole state space.

use super::model::generation::Generation;
use super::model::kernel::{IrqCounting, KernelModel};
use super::probe::{Mechanism, Probe};
use super::snapshot::{RcuState, Snapshot};
use super::units::{Counter, PreemptCount, StateWord};

/// `X86_EFLAGS_IF`.
const INTERRUPT_FLAG: u64 = 1 << 9;

/// From where the words of a snapshot were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vantage {
    /// In the context that the probe is about.
    Direct,
    /// In a handler that the probe's context was interrupted for.
    Exception(Entry),
    /// Either of the two: int3 out of an EQS, or an optimised probe inside an NMI or irq out of one.
    Ambiguous,
}

/// The kind of entry that an exception's handler lies behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// An NMI.
    Nmi,
    /// #BP, #DB, #MC and their like.
    Ist,
    /// An irq, seen in its body: after P was told.
    Irq,
}

impl Vantage {
    /// From where `probe` read the words of `snapshot`.
    #[must_use]
    pub fn of(kernel: &KernelModel, probe: &Probe, snapshot: &Snapshot<'_>) -> Self {
        match probe.mechanism {
            _ if probe.is_sample(snapshot) => Self::Exception(Entry::Nmi),
            Mechanism::Fentry
            | Mechanism::Fexit
            | Mechanism::KprobeFtrace
            | Mechanism::Kretprobe
            | Mechanism::RawTracepoint => Self::Direct,
            Mechanism::Watchpoint => Self::Exception(Entry::Ist),
            Mechanism::KprobeInt3 => of_int3_kprobe(kernel, &snapshot.rcu),
        }
    }
}

/// A kprobe off an ftrace site is int3 until the kernel optimises it to a jump, and again when a neighbour is
/// added: decided hit by hit.
///
/// Where M is not 1 both readings have RCU watching, and the hit counts as the int3 that it looks like.
fn of_int3_kprobe(kernel: &KernelModel, rcu: &RcuState) -> Vantage {
    if !kernel.generation.watches(rcu.state) {
        return Vantage::Direct;
    }
    if kernel.ist_sets_nmi_bits && kernel.preempt.nmi_depth(rcu.preempt_count) == 0 {
        return Vantage::Direct;
    }
    match rcu.nmi_nesting.0 {
        1 => Vantage::Ambiguous,
        // No entry counted itself: the jump of an optimised probe, in a task.
        m if m == kernel.generation.layout().rest_nmi_nesting || m == 0 => Vantage::Direct,
        _ => Vantage::Exception(Entry::Ist),
    }
}

/// The state of the code that a snapshot is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underlying {
    /// The words as that code had them.
    pub rcu: RcuState,
    /// RFLAGS.IF of that code, where registers were captured.
    pub interrupts_on: Option<bool>,
}

/// Takes the entry of `vantage` back out of the words of `snapshot`.
///
/// An ambiguous vantage is read as the exception that it may be.
#[must_use]
pub(crate) fn underlying(kernel: &KernelModel, snapshot: &Snapshot<'_>, vantage: Vantage) -> Underlying {
    let rcu = match vantage {
        Vantage::Direct => snapshot.rcu,
        Vantage::Exception(entry) => before(kernel, &snapshot.rcu, entry, snapshot.task.is_idle()),
        Vantage::Ambiguous => before(kernel, &snapshot.rcu, Entry::Ist, snapshot.task.is_idle()),
    };
    Underlying { rcu, interrupts_on: snapshot.regs.map(|regs| regs.rflags & INTERRUPT_FLAG != 0) }
}

fn before(kernel: &KernelModel, rcu: &RcuState, entry: Entry, idle_task: bool) -> RcuState {
    let preempt = &kernel.preempt;
    let added = match entry {
        Entry::Nmi => preempt.nmi_step(),
        Entry::Ist if kernel.ist_sets_nmi_bits => preempt.nmi_step(),
        Entry::Ist => 0,
        Entry::Irq => preempt.hardirq_step(),
    };
    let mut under = RcuState {
        // A count that does not hold what the entry adds was not calibrated, or is broken: left as it is.
        preempt_count: PreemptCount(rcu.preempt_count.0.checked_sub(added).unwrap_or(rcu.preempt_count.0)),
        ..*rcu
    };
    let counted = match entry {
        Entry::Nmi | Entry::Ist => true,
        Entry::Irq => idle_task || kernel.irqs == IrqCounting::Every,
    };
    if !counted {
        return under;
    }
    if kernel.generation.counts_irqs_in_nesting() && entry == Entry::Irq {
        uncount_irq_in_nesting(kernel.generation, &mut under);
    } else {
        uncount(kernel.generation, &mut under);
    }
    under
}

/// Undoes `rcu_nmi_enter()`: 1 was counted out of an EQS, along with the write to S, else 2.
fn uncount(generation: Generation, under: &mut RcuState) {
    if under.nmi_nesting.0 == 1 {
        under.nmi_nesting = Counter(0);
        under.state = StateWord(under.state.0.wrapping_sub(generation.layout().step));
    } else {
        under.nmi_nesting = Counter(under.nmi_nesting.0.wrapping_sub(2));
    }
}

/// Undoes the `rcu_irq_enter()` of up to 4.15, which looked away inside an NMI.
fn uncount_irq_in_nesting(generation: Generation, under: &mut RcuState) {
    if under.nmi_nesting.0 != 0 {
        return;
    }
    under.nesting = Counter(under.nesting.0.wrapping_sub(1));
    if under.nesting.0 == 0 {
        under.state = StateWord(under.state.0.wrapping_sub(generation.layout().step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::NON_IDLE;
    use crate::model::kernel::PreemptLayout;
    use crate::probe::Point;

    fn kernel() -> KernelModel {
        KernelModel::new(Generation::G5, PreemptLayout::FOUR_BYTES)
    }

    fn rcu(state: u32, nesting: i64, nmi_nesting: i64, preempt_count: u64) -> RcuState {
        RcuState {
            state: StateWord(state),
            nesting: Counter(nesting),
            nmi_nesting: Counter(nmi_nesting),
            preempt_count: PreemptCount(preempt_count),
        }
    }

    fn vantage_of(mechanism: Mechanism, state: RcuState) -> Vantage {
        let probe = Probe {
            point: Point::IdleVictim,
            mechanism,
            symbol: "arch_cpu_idle".to_owned(),
            handlers: Vec::new(),
            is_rcu_internal: false,
            ftrace_validates_rcu: false,
        };
        Vantage::of(&kernel(), &probe, &Snapshot { rcu: state, ..Snapshot::default() })
    }

    #[test]
    fn nmi_out_of_idle_is_unwatched_underneath() {
        let snapshot = Snapshot { rcu: rcu(5, 0, 1, 0x11_0000), ..Snapshot::default() };
        let under = underlying(&kernel(), &snapshot, Vantage::Exception(Entry::Nmi));
        assert_eq!(under.rcu, rcu(1, 0, 0, 0));
        assert!(!kernel().generation.watches(under.rcu.state));
    }

    #[test]
    fn an_nmi_inside_an_irq_out_of_idle_is_watched_underneath() {
        let snapshot = Snapshot { rcu: rcu(5, 0, 3, 0x12_0000), ..Snapshot::default() };
        let under = underlying(&kernel(), &snapshot, Vantage::Exception(Entry::Nmi));
        assert_eq!(under.rcu, rcu(5, 0, 1, 0x1_0000));
    }

    #[test]
    fn an_irq_in_a_task_changed_only_p() {
        let snapshot = Snapshot {
            rcu: rcu(4, 1, NON_IDLE, 0x1_0000),
            task: crate::snapshot::Task { pid: 7, ..Default::default() },
            ..Snapshot::default()
        };
        let under = underlying(&kernel(), &snapshot, Vantage::Exception(Entry::Irq));
        assert_eq!(under.rcu, rcu(4, 1, NON_IDLE, 0));
    }

    #[test]
    fn an_unwatched_kprobe_is_direct_whatever_its_mechanism() {
        for mechanism in [Mechanism::KprobeInt3, Mechanism::KprobeFtrace, Mechanism::Fentry] {
            assert_eq!(vantage_of(mechanism, rcu(1, 0, 0, 0)), Vantage::Direct);
        }
    }

    #[test]
    fn int3_out_of_idle_cannot_be_told_from_a_jump_inside_an_nmi() {
        assert_eq!(vantage_of(Mechanism::KprobeInt3, rcu(5, 0, 1, 0x11_0001)), Vantage::Ambiguous);
        assert_eq!(vantage_of(Mechanism::KprobeInt3, rcu(5, 0, 1, 0x1_0000)), Vantage::Direct);
        assert_eq!(
            vantage_of(Mechanism::KprobeInt3, rcu(4, 1, NON_IDLE + 2, 0x11_0000)),
            Vantage::Exception(Entry::Ist)
        );
    }
}
