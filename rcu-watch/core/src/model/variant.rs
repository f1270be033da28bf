//! The kernels that the model covers: a generation of RCU with the entry code that it shipped with.

use super::generation::Generation;
use super::kernel::{IrqCounting, KernelModel, PreemptLayout};

/// How irqs, NMIs and exceptions come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryCode {
    /// Up to 5.7: everything can be hooked, every irq is counted, `ist_enter()` sets no NMI bits and may
    /// enable interrupts.
    Legacy,
    /// 5.8 and later, x86: noinstr up to the point where RCU was told.
    Generic,
    /// arm64: as generic, but debug exceptions set no NMI bits.
    Arm64,
}

/// One kernel of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The generation, and the architecture or age of its entry code where that matters.
    pub name: &'static str,
    /// Where it keeps the words, and what they hold.
    pub generation: Generation,
    /// How irqs, NMIs and exceptions come in.
    pub entry: EntryCode,
    /// Functions that can be hooked run in its idle EQS.
    pub has_victims: bool,
}

impl Variant {
    /// Every kernel of the model, from the oldest.
    pub const ALL: [Self; 10] = [
        Self::new("G0a", Generation::G0a, EntryCode::Legacy, true),
        Self::new("G0b", Generation::G0b, EntryCode::Legacy, true),
        Self::new("G1", Generation::G1, EntryCode::Legacy, true),
        Self::new("G2 to 5.7", Generation::G2, EntryCode::Legacy, true),
        Self::new("G2", Generation::G2, EntryCode::Generic, true),
        Self::new("G2 arm64", Generation::G2, EntryCode::Arm64, true),
        Self::new("G3", Generation::G3, EntryCode::Generic, true),
        Self::new("G4", Generation::G4, EntryCode::Generic, true),
        Self::new("G5", Generation::G5, EntryCode::Generic, false),
        Self::new("G5 arm64", Generation::G5, EntryCode::Arm64, false),
    ];

    const fn new(name: &'static str, generation: Generation, entry: EntryCode, has_victims: bool) -> Self {
        Self { name, generation, entry, has_victims }
    }

    /// The first variant of a generation with today's x86 entry code where it has it.
    #[must_use]
    pub fn of(generation: Generation) -> Self {
        let fits = |variant: &&Self| variant.generation == generation && variant.entry != EntryCode::Arm64;
        Self::ALL.iter().rfind(fits).copied().unwrap_or(Self::ALL[0])
    }

    /// What the rules know of it.
    #[must_use]
    pub fn kernel(&self) -> KernelModel {
        let mut kernel = KernelModel::new(self.generation, PreemptLayout::FOUR_BYTES);
        kernel.ist_sets_nmi_bits = self.entry == EntryCode::Generic;
        kernel.irqs =
            if self.entry == EntryCode::Legacy { IrqCounting::Every } else { IrqCounting::IdleTask };
        kernel
    }
}
