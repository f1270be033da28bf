//! pstore keeps the log of a crash in parts, the last lines first: `cat dmesg-*` gives them from the end to the beginning.
//!
//! Each part begins with a line of its own, `Oops#1 Part3`. So the lines of parts wait until all of them are there, and are
//! read in the order in which they were printed: crash by crash, from the part with the highest number down.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::line::is_part;

/// More than any backend of pstore holds.
const MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    crash: u32,
    number: u32,
    lines: Vec<String>,
}

impl Parts {
    /// Whether the line is one of a part, and waits.
    pub(super) fn takes(&mut self, raw: &str) -> bool {
        if let Some((crash, number)) = is_part(raw.trim()) {
            self.parts.push(Part { crash, number, lines: Vec::new() });
        }
        let Some(part) = self.parts.last_mut().filter(|_| self.bytes < MAX_BYTES) else { return false };
        self.bytes += raw.len();
        part.lines.push(raw.to_owned());
        true
    }

    /// The lines that wait, in the order in which they were printed.
    pub(super) fn in_order(&mut self) -> impl Iterator<Item = String> + use<> {
        let mut parts = core::mem::take(self).parts;
        parts.sort_by_key(|part| (part.crash, core::cmp::Reverse(part.number)));
        parts.into_iter().flat_map(|part| part.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_from_the_highest_number_down_and_crash_by_crash() {
        let mut parts = Parts::default();
        assert!(!parts.takes("[    1.0] no part yet"));
        for line in ["Oops#1 Part1", "c", "Oops#1 Part2", "a", "b", "Panic#2 Part1", "d"] {
            assert!(parts.takes(line));
        }
        let lines: Vec<String> = parts.in_order().filter(|line| !line.contains('#')).collect();
        assert_eq!(lines, ["a", "b", "c", "d"]);
        assert_eq!(parts.in_order().count(), 0);
    }
}
