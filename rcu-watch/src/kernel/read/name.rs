//! The names that are looked for in files of 50,000 to 200,000 lines.
//!
//! Nearly every line has a name that nobody asked for. For most of these the first byte and the length are enough to
//! tell, so that few names have to be hashed.

use std::collections::HashSet;

/// A set of names that tells most other names apart without hashing them.
pub(crate) struct Names<'a> {
    /// By first byte: a bit for each length, modulo 64.
    lengths: [u64; 256],
    names: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    #[must_use]
    pub(crate) fn contains(&self, name: &str) -> bool {
        let may_be = |first: &u8| self.lengths[usize::from(*first)] & bit(name) != 0;
        name.as_bytes().first().is_some_and(may_be) && self.names.contains(name)
    }
}

const fn bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}

/// Empty names are not kept: no line has one.
impl<'a> FromIterator<&'a str> for Names<'a> {
    fn from_iter<I: IntoIterator<Item = &'a str>>(from: I) -> Self {
        let mut lengths = [0; 256];
        let mut names = HashSet::new();
        for name in from {
            if let Some(&first) = name.as_bytes().first() {
                lengths[usize::from(first)] |= bit(name);
                names.insert(name);
            }
        }
        Self { lengths, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_where_it_was_given_and_no_other_is() {
        let long = "a".repeat(70);
        let names: Names<'_> = ["arch_cpu_idle", "do_idle", "", &long].into_iter().collect();
        assert!(names.contains("arch_cpu_idle") && names.contains("do_idle") && names.contains(&long));
        // The same first byte and length, the same length after division, and nothing at all.
        for other in ["arch_cpu_exit", "aaaaaa", "do_exit", "idle", ""] {
            assert!(!names.contains(other), "{other}");
        }
    }
}
