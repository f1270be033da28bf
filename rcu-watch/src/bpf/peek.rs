//! Kernel memory on demand: user space says which addresses, a program that it runs by hand reads them.
//!
//! Nothing is attached: between two questions the program only lies there. It reads whole aligned words, which a
//! page's end cannot divide, 256 in a run; longer questions are several runs, so what they tell is of different times.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use rcu_watch_common::peek::{PeekWords, WORDS_MAX};

use super::maps::{self, MapValue};
use super::{BpfError, failed, types};
use crate::sys::limit;
use crate::sys::memory::KernelMemory;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rcu-watch-bpf-peek"));
const PROGRAM: &str = "rcuw_peek";
/// Bytes of a word.
const WORD: u64 = 8;

/// The reading program, loaded. Copies share it.
#[derive(Clone)]
pub(crate) struct Peek(Arc<Mutex<Loaded>>);

struct Loaded {
    bpf: Ebpf,
    words: Array<MapData, MapValue<PeekWords>>,
}

impl Peek {
    /// Loads the program, and tries it.
    ///
    /// To be called before other threads are there: for a moment the process can open no files (see `bpf/types.rs`).
    ///
    /// # Errors
    /// Where the kernel refuses: no rights, or one that cannot run raw tracepoint programs by hand (before 5.10:
    /// 1b4d60ec162f, "bpf: Enable BPF_PROG_TEST_RUN for raw_tracepoint").
    pub(crate) fn load() -> Result<Self, BpfError> {
        limit::lift_memory_limit();
        let mut bpf = types::loader().load(OBJECT)?;
        let map = bpf.take_map(maps::PEEK).ok_or_else(|| BpfError::Missing(maps::PEEK.to_owned()))?;
        let words = map.try_into().map_err(maps::at(maps::PEEK))?;
        let mut loaded = Loaded { bpf, words };
        loaded.program()?.load().map_err(failed(PROGRAM))?;
        loaded.run()?;
        Ok(Self(Arc::new(Mutex::new(loaded))))
    }
}

impl KernelMemory for Peek {
    fn read(&self, places: &[(u64, usize)]) -> io::Result<Vec<Option<Vec<u8>>>> {
        // A reader that panicked left a question that the next one overwrites.
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses: Vec<u64> = places.iter().copied().flat_map(words_of).collect();
        let mut values = Vec::with_capacity(addresses.len());
        for question in addresses.chunks(WORDS_MAX) {
            loaded.ask(question, &mut values).map_err(io::Error::other)?;
        }
        let mut values = values.into_iter();
        Ok(places.iter().map(|&place| bytes_of(place, &mut values)).collect())
    }
}

impl Loaded {
    fn program(&mut self) -> Result<&mut RawTracePoint, BpfError> {
        let program = self.bpf.program_mut(PROGRAM).ok_or_else(|| BpfError::Missing(PROGRAM.to_owned()))?;
        program.try_into().map_err(failed(PROGRAM))
    }

    fn run(&mut self) -> Result<(), BpfError> {
        self.program()?.test_run(RawTracePointRunOptions::new()).map(drop).map_err(failed(PROGRAM))
    }

    /// Appends the words at these addresses, of which there are [`WORDS_MAX`] at most.
    fn ask(&mut self, addresses: &[u64], values: &mut Vec<Option<u64>>) -> Result<(), BpfError> {
        let mut words = PeekWords { failed: [1; WORDS_MAX], ..PeekWords::default() };
        words.addresses[..addresses.len()].copy_from_slice(addresses);
        self.words.set(0, MapValue(words), 0).map_err(maps::at(maps::PEEK))?;
        self.run()?;
        let MapValue(words) = self.words.get(&0, 0).map_err(maps::at(maps::PEEK))?;
        let answers = words.values.iter().zip(words.failed).take(addresses.len());
        values.extend(answers.map(|(&value, failed)| (failed == 0).then_some(value)));
        Ok(())
    }
}

/// The aligned words that hold this place. The program takes an address of 0 for the end; the next word cannot be read
/// either, since nothing is mapped there.
fn words_of((address, len): (u64, usize)) -> impl Iterator<Item = u64> {
    let first = address / WORD;
    let end = address.saturating_add(len as u64).div_ceil(WORD);
    (first..end).map(|word| (word * WORD).max(WORD))
}

/// Takes the words of this place; `None` where one of them could not be read.
fn bytes_of(place: (u64, usize), values: &mut impl Iterator<Item = Option<u64>>) -> Option<Vec<u8>> {
    let words: Vec<Option<u64>> = values.take(words_of(place).count()).collect();
    let words: Option<Vec<u64>> = words.into_iter().collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u64::to_ne_bytes).collect();
    let start = (place.0 % WORD) as usize;
    bytes.get(start..start.checked_add(place.1)?).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: u64, len: usize) -> Vec<u64> {
        words_of((address, len)).collect()
    }

    #[test]
    fn a_place_is_asked_for_by_the_words_that_hold_it() {
        assert_eq!(asked(0x1000, 8), [0x1000]);
        assert_eq!(asked(0x1004, 4), [0x1000]);
        assert_eq!(asked(0x1004, 8), [0x1000, 0x1008]);
        assert_eq!(asked(0x1004, 0), [0x1000]);
        assert!(asked(0x1000, 0).is_empty());
        assert_eq!(asked(u64::MAX, 8), [u64::MAX - 7]);
    }

    #[test]
    fn no_question_ends_at_a_null_pointer_in_it() {
        assert!(asked(0, 16).iter().all(|&address| address != 0));
    }

    #[test]
    fn bytes_are_cut_out_of_their_words_in_order() {
        let words = [Some(u64::from_ne_bytes(*b"abcdefgh")), Some(u64::from_ne_bytes(*b"ijklmnop"))];
        let mut values = words.into_iter().chain(words);
        assert_eq!(bytes_of((0x1004, 6), &mut values).unwrap(), b"efghij");
        assert_eq!(bytes_of((0x1000, 4), &mut values).unwrap(), b"abcd");
        assert_eq!(bytes_of((0x1000, 4), &mut values).unwrap(), b"ijkl");
    }

    #[test]
    fn a_place_with_a_word_that_cannot_be_read_is_nothing_and_the_next_one_is_read() {
        let mut values = [Some(1), None, Some(u64::from_ne_bytes(*b"abcdefgh"))].into_iter();
        assert_eq!(bytes_of((0x1ffc, 8), &mut values), None);
        assert_eq!(bytes_of((0x3000, 8), &mut values).unwrap(), b"abcdefgh");
    }
}
