//! Entries out of one page of ftrace's ring buffer, as `per_cpu/cpuN/trace_pipe_raw` gives it.
//!
//! The shape is kernel ABI, used by every reader of raw traces since 2.6.30 (include/linux/ring_buffer.h,
//! Documentation/trace/ring-buffer-design.rst): a header, then entries of a 32-bit word (5 bits type or length,
//! 27 bits time) and their payload. Raw pages and not text: the text of an entry costs the kernel two look-ups
//! of a symbol, and its columns differ between releases.

use super::format::Formats;

/// Bits of `common_flags` (include/linux/trace_events.h:trace_flag_type).
pub(crate) mod flag {
    pub(crate) const HARDIRQ: u64 = 0x08;
    pub(crate) const SOFTIRQ: u64 = 0x10;
    pub(crate) const NMI: u64 = 0x40;
}

/// Bits of the page's `commit` that are no length (kernel/trace/ring_buffer.c: RB_MISSED_EVENTS and _STORED).
const MISSED_EVENTS: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;

/// Values of the 5 bits that are no length (include/linux/ring_buffer.h:ring_buffer_type).
const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;

/// What an audit takes from a trace, in the order of one CPU's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Entries were overwritten before this page.
    Missed,
    Function {
        ip: u64,
        parent_ip: u64,
        /// Of [`flag`], and others.
        flags: u64,
    },
    /// On the way into idle, or (`u32::MAX`) out of it.
    CpuIdle {
        state: u32,
    },
    UserEnter,
    UserExit,
}

/// `PWR_EVENT_EXIT` of include/trace/events/power.h.
pub(crate) const IDLE_EXIT: u32 = u32::MAX;

/// Calls `take` with each entry of `page`. False where the page is not of the shape that it should have; what
/// came before was taken.
pub(crate) fn entries(page: &[u8], formats: &Formats, mut take: impl FnMut(Entry)) -> bool {
    let Some(commit) = word(page, 8) else { return page.is_empty() };
    if commit & MISSED_EVENTS != 0 {
        take(Entry::Missed);
    }
    let length = (commit & 0xffff_ffff & !(MISSED_EVENTS | MISSED_STORED)) as usize;
    let Some(mut rest) =
        formats.page_data.checked_add(length).and_then(|end| page.get(formats.page_data..end))
    else {
        return false;
    };
    while let Some(head) = half(rest, 0) {
        let (kind, delta) = (head & 0x1f, head >> 5);
        let (payload, length) = match kind {
            // What the writer did not use of the page.
            PADDING if delta == 0 => return true,
            PADDING => (None, half(rest, 4).map(|length| 4 + length as usize)),
            TIME_EXTEND | TIME_STAMP => (None, Some(8)),
            0 => (Some(8), half(rest, 4).map(|length| 4 + length as usize)),
            words => (Some(4), Some(4 + 4 * words as usize)),
        };
        let Some(whole) = length.filter(|&length| length >= 8).and_then(|length| rest.get(..length)) else {
            return false;
        };
        if let Some(entry) = payload.and_then(|at| whole.get(at..)).and_then(|bytes| entry(bytes, formats)) {
            take(entry);
        }
        rest = &rest[whole.len()..];
    }
    rest.is_empty()
}

fn entry(bytes: &[u8], formats: &Formats) -> Option<Entry> {
    let Formats { function, cpu_idle, user_enter, user_exit, .. } = formats;
    let kind = function.kind.read(bytes)?;
    if kind == function.id {
        Some(Entry::Function {
            ip: function.ip.read(bytes)?,
            parent_ip: function.parent_ip.read(bytes)?,
            flags: function.flags.read(bytes)?,
        })
    } else if kind == cpu_idle.id {
        Some(Entry::CpuIdle { state: cpu_idle.state.read(bytes)? as u32 })
    } else if Some(kind) == *user_enter {
        Some(Entry::UserEnter)
    } else if Some(kind) == *user_exit {
        Some(Entry::UserExit)
    } else {
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::format::tests::formats;
    use super::*;

    /// A page as the kernel writes it.
    #[derive(Default)]
    struct Page(Vec<u8>);

    impl Page {
        fn head(&mut self, kind: u32, delta: u32) {
            self.0.extend((kind | delta << 5).to_le_bytes());
        }

        fn function(mut self, ip: u64, parent_ip: u64, flags: u8) -> Self {
            self.head(6, 10);
            self.0.extend([1, 0, flags, 0, 0, 0, 0, 0]);
            self.0.extend(ip.to_le_bytes());
            self.0.extend(parent_ip.to_le_bytes());
            self
        }

        fn cpu_idle(mut self, state: u32) -> Self {
            self.head(4, 3);
            self.0.extend([0x1f, 1, 0, 0, 0, 0, 0, 0]);
            self.0.extend(state.to_le_bytes());
            self.0.extend(0_u32.to_le_bytes());
            self
        }

        fn done(self, missed: bool) -> Vec<u8> {
            let commit = self.0.len() as u64 | if missed { MISSED_EVENTS } else { 0 };
            [&7_u64.to_le_bytes()[..], &commit.to_le_bytes(), &self.0, &[0xaa; 64]].concat()
        }
    }

    fn read(page: &[u8]) -> (Vec<Entry>, bool) {
        let mut found = Vec::new();
        let whole = entries(page, &formats(), |entry| found.push(entry));
        (found, whole)
    }

    #[test]
    fn functions_and_idle_events_come_in_their_order() {
        let page = Page::default().cpu_idle(1).function(0x10, 0x20, 1).cpu_idle(IDLE_EXIT).done(false);
        let (found, whole) = read(&page);
        assert!(whole);
        assert_eq!(
            found,
            [
                Entry::CpuIdle { state: 1 },
                Entry::Function { ip: 0x10, parent_ip: 0x20, flags: 1 },
                Entry::CpuIdle { state: IDLE_EXIT }
            ]
        );
    }

    #[test]
    fn time_stamps_padding_and_events_of_others_are_passed() {
        let mut page = Page::default();
        page.head(TIME_EXTEND, 1);
        page.0.extend([0; 4]);
        // An entry that was discarded: its length is in the next word.
        page.head(PADDING, 1);
        page.0.extend(8_u32.to_le_bytes());
        page.0.extend([0; 4]);
        // A long entry of another event.
        page.head(0, 1);
        page.0.extend(12_u32.to_le_bytes());
        page.0.extend([99, 0, 0, 0, 0, 0, 0, 0]);
        let mut page = page.function(1, 2, 0);
        page.head(PADDING, 0);
        page.0.extend([0xff; 8]);
        let (found, whole) = read(&page.done(false));
        assert!(whole);
        assert_eq!(found, [Entry::Function { ip: 1, parent_ip: 2, flags: 0 }]);
    }

    #[test]
    fn a_long_function_entry_has_its_arguments_behind_it() {
        let mut page = Page::default();
        page.head(0, 1);
        page.0.extend((4 + 24 + 16_u32).to_le_bytes());
        page.0.extend([1, 0, flag::NMI as u8, 0, 0, 0, 0, 0]);
        page.0.extend([3_u64, 4, 5, 6].iter().flat_map(|word| word.to_le_bytes()));
        let (found, whole) = read(&page.done(false));
        assert!(whole);
        assert_eq!(found, [Entry::Function { ip: 3, parent_ip: 4, flags: flag::NMI }]);
    }

    #[test]
    fn overwritten_entries_are_told_before_those_that_are_left() {
        let (found, _) = read(&Page::default().cpu_idle(1).done(true));
        assert_eq!(found, [Entry::Missed, Entry::CpuIdle { state: 1 }]);
    }

    #[test]
    fn a_broken_page_ends_where_it_breaks() {
        let mut page = Page::default().cpu_idle(1);
        page.head(28, 0);
        let (found, whole) = read(&page.done(false));
        assert_eq!((found.len(), whole), (1, false));
        // A length that runs over the page, and one that leads nowhere.
        let mut page = Page::default();
        page.head(0, 1);
        page.0.extend(0_u32.to_le_bytes());
        assert!(!read(&page.done(false)).1);
        assert!(!read(&[0xff; 32]).1);
    }
}
