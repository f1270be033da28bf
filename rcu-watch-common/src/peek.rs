//! The question that user space asks of the program that reads kernel memory, and its answer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words that one run reads at most.
pub const WORDS_MAX: usize = 256;

/// Words of kernel memory by address. An aligned word never crosses a page, and the kernel writes it at once: it is read
/// whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeekWords {
    /// Multiples of 8. The first 0 ends the question.
    pub addresses: [u64; WORDS_MAX],
    pub values: [u64; WORDS_MAX],
    /// 1 where the word could not be read.
    pub failed: [u8; WORDS_MAX],
}

impl Default for PeekWords {
    fn default() -> Self {
        Self { addresses: [0; WORDS_MAX], values: [0; WORDS_MAX], failed: [0; WORDS_MAX] }
    }
}
