//! The names that are looked for in files of 50,000 to 200,000 lines.
//!
//! Nearly every line is of a name that nobody asked for. Its first byte and its length tell that for most of them, so
//! that a hash of the whole name is worked out for few.

use std::collections::HashSet;

/// See the module.
pub struct Names<'a> {
    /// By first byte: a bit for each length, modulo 64.
    lengths: [u64; 256],
    names: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
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
