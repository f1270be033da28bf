//! What the kernel's log says of transitions of livepatches (kernel/livepatch/transition.c), read once up to its end and
//! on from there at each later read.
//!
//! The log is the only place that tells when a transition began, and that one was forced. It is a ring: what is too old
//! is not in it, and a line that is not there says nothing.

use rcu_watch_core::units::Nanos;

use crate::kernel::read::kmsg::{KernelLog, Since};
use crate::kernel::read::mount::Tree;
use crate::kernel::read::support::Reason;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The log's own time.
    pub ts: Nanos,
    pub patch: String,
    pub what: What,
}

/// What the log says of a livepatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Enabled,
    Started { to_patched: bool },
    Complete { to_patched: bool },
    Forced,
}

/// The log, as far as it was read.
#[derive(Debug)]
pub(crate) struct TransitionLog {
    source: Result<KernelLog, Reason>,
    /// When transitions were forced of which nothing was read before: the next to be complete is the one.
    forced: Vec<Nanos>,
    entries: Vec<Entry>,
}

impl TransitionLog {
    /// Opens it; what can be read comes with [`Self::read`].
    #[must_use]
    pub(crate) fn open(tree: &Tree) -> Self {
        Self { source: KernelLog::open(tree, Since::Oldest), forced: Vec::new(), entries: Vec::new() }
    }

    /// Why it cannot be read.
    #[must_use]
    pub(crate) fn closed(&self) -> Option<&Reason> {
        self.source.as_ref().err()
    }

    /// Reads on up to now; gives everything that was read.
    pub(crate) fn read(&mut self) -> &[Entry] {
        if let Ok(log) = &mut self.source {
            match log.news(MOST) {
                Ok(news) => news.lines.iter().for_each(|line| self.add(line)),
                Err(error) => self.source = Err(Reason::new(format!("/dev/kmsg cannot be read: {error}"))),
            }
        }
        &self.entries
    }

    /// A line as dmesg prints it: `[   42.628511] livepatch: 'p': starting patching transition`, maybe with who printed it.
    pub(crate) fn add(&mut self, line: &str) {
        if let Some((time, text)) = line.strip_prefix('[').and_then(|line| line.split_once(MARK))
            && let Some(ts) = time_of(time.split(']').next().unwrap_or(time))
        {
            self.add_text(ts, text);
        }
    }

    fn add_text(&mut self, ts: Nanos, text: &str) -> Option<()> {
        if text.starts_with("forcing remaining tasks") {
            match self.entries.last() {
                Some(Entry { patch, what: What::Started { .. }, .. }) => {
                    let patch = patch.clone();
                    self.entries.push(Entry { ts, patch, what: What::Forced });
                }
                _ => self.forced.push(ts),
            }
            return Some(());
        }
        if let Some(patch) = text.strip_prefix("enabling patch '").and_then(|rest| rest.strip_suffix('\'')) {
            self.entries.push(Entry { ts, patch: patch.to_owned(), what: What::Enabled });
            return Some(());
        }
        // The name of a module may have any character but a slash.
        let (patch, text) = text.strip_prefix('\'')?.rsplit_once("': ")?;
        let what = match text {
            "starting patching transition" => What::Started { to_patched: true },
            "starting unpatching transition" => What::Started { to_patched: false },
            "patching complete" => What::Complete { to_patched: true },
            "unpatching complete" => What::Complete { to_patched: false },
            _ => return None,
        };
        if matches!(what, What::Complete { .. }) {
            let forced = std::mem::take(&mut self.forced);
            let of = |ts| Entry { ts, patch: patch.to_owned(), what: What::Forced };
            self.entries.extend(forced.into_iter().map(of));
        }
        self.entries.push(Entry { ts, patch: patch.to_owned(), what });
        Some(())
    }
}

/// Whether the last transition of a livepatch that way was forced.
#[must_use]
pub(crate) fn was_forced(entries: &[Entry], patch: &str, to_patched: bool) -> bool {
    let of_patch = entries.iter().rev().filter(|entry| entry.patch == patch);
    of_patch
        .take_while(|entry| entry.what != What::Started { to_patched })
        .any(|entry| entry.what == What::Forced)
}

/// More records than any log buffer holds: reading ends also where somebody writes as fast as this reads.
const MOST: usize = 1 << 20;

const MARK: &str = "] livepatch: ";

/// `   42.628511`
fn time_of(text: &str) -> Option<Nanos> {
    let (seconds, micros) = text.trim_start().split_once('.')?;
    let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
    Some(Nanos(seconds.checked_mul(1_000_000_000)?.checked_add(micros.checked_mul(1000)?)?))
}

/// When the transition began that `patch` is in, towards these functions.
#[must_use]
pub(crate) fn began(entries: &[Entry], patch: &str, to_patched: bool) -> Option<Nanos> {
    let last = entries.iter().rev().find(|entry| entry.patch == patch && entry.what != What::Forced)?;
    (last.what == What::Started { to_patched }).then_some(last.ts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &str) -> Vec<Entry> {
        let mut read = TransitionLog::open(&Tree::under("/nonexistent"));
        log.lines().for_each(|line| read.add(line));
        read.entries
    }

    const HELD: &str = "\
[    1.000000] livepatch: enabling patch 'lp'
[    2.000000][   T812] livepatch: 'lp': starting patching transition
[    2.500000] livepatch is a word
[   17.000000] livepatch: signaling remaining tasks
";

    #[test]
    fn a_transition_that_is_not_complete_began_when_the_log_says() {
        let entries = read(HELD);
        assert_eq!(began(&entries, "lp", true), Some(Nanos(2_000_000_000)));
        assert_eq!((began(&entries, "lp", false), began(&entries, "other", true)), (None, None));
    }

    #[test]
    fn one_that_is_complete_tells_nothing_of_the_next() {
        let entries = read(&format!("{HELD}[   18.000000] livepatch: 'lp': patching complete\n"));
        assert_eq!(began(&entries, "lp", true), None);
    }

    #[test]
    fn whose_transition_was_forced_follows_from_the_lines_around() {
        let forced = "[   18.000000] livepatch: forcing remaining tasks to the patched state\n";
        let complete = "[   19.000000] livepatch: 'lp': patching complete\n";
        for log in
            [format!("{HELD}{forced}{complete}"), format!("{forced}{complete}"), format!("{HELD}{forced}")]
        {
            let of: Vec<_> = read(&log).into_iter().filter(|entry| entry.what == What::Forced).collect();
            assert_eq!(
                of,
                [Entry { ts: Nanos(18_000_000_000), patch: "lp".into(), what: What::Forced }],
                "{log}"
            );
        }
    }

    #[test]
    fn only_the_transition_that_was_forced_is_called_so() {
        let forced = "[   18.000000] livepatch: forcing remaining tasks to the patched state\n";
        let complete = "[   19.000000] livepatch: 'lp': patching complete\n";
        let log = format!("{HELD}{forced}{complete}");
        assert!(was_forced(&read(&log), "lp", true));
        assert!(!was_forced(&read(&log), "other", true));
        assert!(!was_forced(&read(&format!("{HELD}{complete}")), "lp", true));
        let again = "[   20.000000] livepatch: 'lp': starting patching transition\n";
        assert!(!was_forced(&read(&format!("{log}{again}{complete}")), "lp", true));
    }

    #[test]
    fn a_forced_transition_that_is_under_way_still_began_before() {
        let log = format!("{HELD}[   18.000000] livepatch: forcing remaining tasks to the patched state\n");
        assert_eq!(began(&read(&log), "lp", true), Some(Nanos(2_000_000_000)));
    }

    #[test]
    fn a_name_with_odd_characters_is_kept_whole() {
        let entries = read("[    2.000000] livepatch: 'l': p': starting unpatching transition\n");
        assert_eq!(began(&entries, "l': p", false), Some(Nanos(2_000_000_000)));
    }

    #[test]
    fn a_log_that_is_not_there_says_so() {
        let log = TransitionLog::open(&Tree::under("/nonexistent"));
        assert!(log.closed().is_some());
    }
}
