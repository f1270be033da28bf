//! What the rules need to know of the kernel at hand, learnt once and then passed along.
//!
//! Nothing here is read from a version number. What could not be learnt is not guessed: a rule that needs it
//! leaves its hits unjudged, and the summary says so.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::units::{Address, PreemptCount};

/// Fields of P.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PreemptLayout {
    /// Bits that count NMIs and exceptions like them.
    pub nmi_mask: u64,
    /// Bits that count hard irqs.
    pub hardirq_mask: u64,
    /// Bits that count softirqs, and sections with bottom halves disabled.
    pub softirq_mask: u64,
}

impl PreemptLayout {
    /// A 4-byte `preempt_count`.
    pub const FOUR_BYTES: Self = Self { nmi_mask: 0xf0_0000, hardirq_mask: 0xf_0000, softirq_mask: 0xff00 };
    /// An 8-byte one (HAS_SEPARATE_PREEMPT_RESCHED_BITS).
    pub const EIGHT_BYTES: Self =
        Self { nmi_mask: 0xf000_0000, hardirq_mask: 0x0f00_0000, softirq_mask: 0xff00 };

    const fn field(count: PreemptCount, mask: u64) -> u32 {
        if mask == 0 { 0 } else { ((count.0 & mask) >> mask.trailing_zeros()) as u32 }
    }

    /// How many NMI-like entries P counts.
    #[must_use]
    pub const fn nmi_depth(&self, count: PreemptCount) -> u32 {
        Self::field(count, self.nmi_mask)
    }

    /// How many hard irqs P counts; an NMI-like entry adds one of its own.
    #[must_use]
    pub const fn hardirq_depth(&self, count: PreemptCount) -> u32 {
        Self::field(count, self.hardirq_mask)
    }

    /// Whether a softirq is being served, rather than bottom halves disabled.
    #[must_use]
    pub const fn serves_softirq(&self, count: PreemptCount) -> bool {
        // A count of one step is "serving"; bottom halves disabled count two.
        Self::field(count, self.softirq_mask) % 2 == 1
    }

    /// What `__nmi_enter` adds: one NMI and one hard irq.
    #[must_use]
    pub const fn nmi_step(&self) -> u64 {
        lowest(self.nmi_mask) + lowest(self.hardirq_mask)
    }

    /// What `__irq_enter_raw` adds.
    #[must_use]
    pub const fn hardirq_step(&self) -> u64 {
        lowest(self.hardirq_mask)
    }
}

const fn lowest(mask: u64) -> u64 {
    mask & mask.wrapping_neg()
}

/// Which irqs RCU is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IrqCounting {
    /// `irq_enter()` calls `rcu_irq_enter()` for every one (before 5.8).
    Every,
    /// Only those that interrupt the idle task: `irqentry_enter()`, kernel/entry/common.c.
    IdleTask,
}

/// What was seen of the words' meaning. What is not known yet is not judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// A task was seen with W=1 and N and M at rest.
    pub task: bool,
    /// An idle CPU was seen with W=0 and N and M zero, or an irq from idle with M=1.
    pub eqs: bool,
    /// The HARDIRQ bits of P are known.
    pub hardirq_bits: bool,
    /// The NMI bits of P are known.
    pub nmi_bits: bool,
}

impl Calibration {
    /// All was seen, so that every rule judges.
    pub const COMPLETE: Self = Self { task: true, eqs: true, hardirq_bits: true, nmi_bits: true };
}

/// A half-open range of kernel text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRange {
    /// The first address in it.
    pub start: Address,
    /// The first address behind it.
    pub end: Address,
}

impl TextRange {
    /// Whether `address` lies in it.
    #[must_use]
    pub const fn contains(&self, address: Address) -> bool {
        self.start.0 <= address.0 && address.0 < self.end.0
    }
}

/// Where things lie in this kernel's text; empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextMap {
    /// Not instrumentable: noinstr, cpuidle and entry text.
    pub uninstrumentable: Vec<TextRange>,
    /// Functions that this kernel is known to run with RCU off although they can be hooked.
    pub known_victims: Vec<TextRange>,
    /// RCU's own functions that write S, N or M.
    pub writers: Vec<TextRange>,
}

/// The kernel at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelModel {
    /// Where it keeps the words, and what they hold.
    pub generation: Generation,
    /// Where P has its fields.
    pub preempt: PreemptLayout,
    /// #BP, #DB and #MC from the kernel add the NMI bits to P: x86 without `ist_enter`, not FRED.
    /// 0d00449c7a28 ("x86: Replace ist_enter() with nmi_enter()"). Never so on arm64.
    pub ist_sets_nmi_bits: bool,
    /// Which irqs it tells RCU of.
    pub irqs: IrqCounting,
    /// The way out of an EQS calls code that can be hooked while N and M are still zero: the tracepoint
    /// rcu:rcu_dyntick / rcu:rcu_watching exists (RCU_TRACE=y), or `rcu_cleanup_after_idle` does (FAST_NO_HZ).
    pub eqs_exit_calls_out: bool,
    /// What of the words was seen to mean what it should.
    pub calibration: Calibration,
    /// Where its text has what the rules ask for.
    pub text: TextMap,
}

impl KernelModel {
    /// A kernel of `generation` with the current x86 entry code, wholly calibrated.
    ///
    /// What a loader has not looked at stays as it is here: the side that raises fewer findings.
    #[must_use]
    pub fn new(generation: Generation, preempt: PreemptLayout) -> Self {
        let legacy = generation < Generation::G2;
        Self {
            generation,
            preempt,
            ist_sets_nmi_bits: !legacy,
            irqs: if legacy { IrqCounting::Every } else { IrqCounting::IdleTask },
            eqs_exit_calls_out: true,
            calibration: Calibration::COMPLETE,
            text: TextMap::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observed_nmi_counts_are_one_deep_in_both_layouts() {
        // Seen in NMIs on stock kernels (docs/kernel.md, preempt_count).
        for (layout, count) in
            [(PreemptLayout::FOUR_BYTES, 0x0011_0001), (PreemptLayout::EIGHT_BYTES, 0x1100_0001)]
        {
            let count = PreemptCount(count);
            assert_eq!((layout.nmi_depth(count), layout.hardirq_depth(count)), (1, 1));
            assert_eq!(count.0 - layout.nmi_step(), 1);
        }
    }

    #[test]
    fn the_inverted_reschedule_bit_is_no_context() {
        let count = PreemptCount(0x8000_0000);
        let layout = PreemptLayout::FOUR_BYTES;
        assert_eq!((layout.nmi_depth(count), layout.hardirq_depth(count)), (0, 0));
        assert!(!layout.serves_softirq(count));
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let range = TextRange { start: Address(16), end: Address(32) };
        assert!(range.contains(Address(16)) && range.contains(Address(31)) && !range.contains(Address(32)));
    }
}
