//! Lines that begin a complaint, of every kernel from 3.0 on, and those that show one that began before the log did.

use alloc::borrow::ToOwned as _;
use alloc::string::String;

use crate::dmesg::frame::{base, is_name, is_place, symbol};
use crate::dmesg::stall::Stall;

/// What kind of complaint a splat is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// "cut here": a WARN whose headline comes.
    Cut,
    /// "RCU not on for: FUNCTION"
    NotOn(String),
    /// "suspicious RCU usage": its message, and where RCU was used illegally.
    Lockdep { message: String, illegal: Option<Illegal> },
    /// A WARN.
    Warn(Warn),
    /// "FUNCTION leaked IRQ state"
    LeakedIrq(String),
    /// "RCU not watching for tracepoint", the message of a WARN.
    Unwatched,
    /// A stall of a grace period.
    Stall(Stall),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Illegal {
    Eqs,
    Offline,
}

/// Where a WARN stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Warn {
    pub file: String,
    pub line: u32,
    /// Empty where the headline has none.
    pub function: String,
    /// The headline has the function to its end.
    pub is_whole: bool,
    /// Up to 4.5 the headline ends with `()`, up to 3.11 it names no CPU: those kernels print no other message.
    pub is_old: bool,
}

/// Messages of RCU_LOCKDEP_WARN that say themselves that RCU did not watch.
const SAYS_UNWATCHED: &[&str] = &[
    "used illegally while idle",
    "RCU not watching",
    "RCU thinks we're quiescent",
    "in extended quiescent state",
    "didn't wake RCU",
    "Bad RCU ",
    "nesting counter underflow",
    "_enter didn't work",
];

pub(super) fn says_unwatched(message: &str) -> bool {
    SAYS_UNWATCHED.iter().any(|words| message.contains(words))
}

/// What a line begins, if it begins a splat or shows one.
pub(super) fn begin(text: &str) -> Option<Kind> {
    if text.starts_with("------------[ cut here") {
        return Some(Kind::Cut);
    }
    if let Some(warn) = text.strip_prefix("WARNING: ").and_then(warning) {
        return Some(Kind::Warn(warn));
    }
    // What follows speaks of RCU, and most lines do not.
    if !text.contains("RCU") && !text.contains("rcu") && !text.contains("IRQ") && !text.contains("idle=") {
        return None;
    }
    if let Some(function) = text.strip_prefix("RCU not on for: ") {
        let name = base(function.split_whitespace().next().unwrap_or(""));
        return is_name(name).then(|| Kind::NotOn(name.to_owned()));
    }
    let suspicious =
        ["WARNING: suspicious RCU usage", "[ INFO: suspicious RCU usage", "INFO: suspicious RCU usage"];
    if suspicious.iter().any(|headline| text.starts_with(headline)) {
        return Some(Kind::Lockdep { message: String::new(), illegal: None });
    }
    if text.starts_with("RCU used illegally from") {
        return Some(Kind::Lockdep { message: String::new(), illegal: Some(illegal(text)) });
    }
    if text.starts_with("RCU not watching for tracepoint") {
        return Some(Kind::Unwatched);
    }
    if let Some(function) = text.strip_suffix(" leaked IRQ state") {
        let function = function.rsplit(' ').next()?;
        return Some(Kind::LeakedIrq(base(function).to_owned()));
    }
    if is_message(text) && says_unwatched(text) {
        return Some(Kind::Lockdep { message: text.to_owned(), illegal: None });
    }
    Stall::begin(text).map(Kind::Stall)
}

/// Whether a line shows a splat of lockdep that began before: it is part of one that is open.
pub(super) fn is_middle(kind: &Kind) -> bool {
    matches!(kind, Kind::Lockdep { message, illegal } if illegal.is_some() || !message.is_empty())
}

/// Whether a line only says more of a splat that another line begins.
pub(super) fn is_message_of(kind: &Kind) -> bool {
    *kind == Kind::Unwatched || is_middle(kind)
}

pub(super) fn illegal(text: &str) -> Illegal {
    if text.contains("offline CPU") { Illegal::Offline } else { Illegal::Eqs }
}

/// `kernel/rcu/tree.c:715 RCU ... underflow/zero!!`
pub(super) fn is_message(text: &str) -> bool {
    !text.starts_with('(') && is_place(text)
}

/// The kernel's headlines of a WARN: `at FILE:LINE FUNCTION()`, `CPU: 1 PID: 0 at FILE:LINE FUNCTION`, and since 6.18
/// `FILE:LINE at FUNCTION, CPU#1: COMM/PID`.
fn warning(rest: &str) -> Option<Warn> {
    let (file, function, is_old) = if let Some(after) = rest.strip_prefix("at ") {
        let (file, function) = after.split_once(' ').unwrap_or((after, ""));
        (file, function, true)
    } else {
        match rest.split_once(" at ") {
            Some((before, after)) if before.starts_with("CPU: ") => {
                let (file, function) = after.split_once(' ').unwrap_or((after, ""));
                (file, function, function.trim_end().ends_with("()"))
            }
            Some((file, after)) => (file.rsplit(' ').next()?, after.split(',').next()?, false),
            None => return None,
        }
    };
    let (file, line) = file.rsplit_once(':')?;
    let line = line.parse().ok()?;
    let (word, behind) = function.trim().split_once(' ').unwrap_or((function.trim(), ""));
    let whole = symbol(word).or_else(|| is_place(behind).then_some(word));
    let function = base(whole.unwrap_or(word).trim_end_matches("()"));
    let function = if is_name(function) { function.to_owned() } else { String::new() };
    let is_whole = whole.is_some() && !function.is_empty();
    Some(Warn { file: file.to_owned(), line, function, is_whole, is_old })
}

/// Whether a headline goes on in the next line.
pub(super) fn is_broken(text: &str) -> bool {
    let is_warning = text.strip_prefix("WARNING: ").is_some_and(|rest| {
        (rest.starts_with("CPU: ") || rest.starts_with("at ")) && warning(rest).is_none()
            || rest.starts_with("suspicious") && !rest.contains("usage")
    });
    is_warning || text == "RCU not on for:"
}

/// What the kernel says of RCU where it complains.
const WORDS: &[&str] = &[
    "RCU not on for",
    "RCU used illegally",
    "RCU not watching",
    "used illegally while idle",
    "RCU thinks we're quiescent",
    "didn't wake RCU",
    "stall on CPU",
    "detected stalls on",
    "detected expedited stalls",
    "leaked IRQ state",
];

/// Whether a line carries a message of this class, and not the source code that prints it. Lockdep's headline alone is none:
/// most of its splats are of another class.
pub(super) fn speaks(text: &str) -> bool {
    (text.contains("RCU") || text.contains("stall") || text.contains("IRQ") || text.contains("idle!"))
        && WORDS.iter().any(|words| text.contains(words))
        && !text.contains("\\n\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warn(text: &str) -> (String, String, bool) {
        match begin(text) {
            Some(Kind::Warn(Warn { file, function, is_whole, .. })) => (file, function, is_whole),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_headlines_of_a_warn_of_every_age_are_read() {
        for text in [
            "WARNING: at kernel/rcutree.c:621 f+0x9c/0xa8()",
            "WARNING: CPU: 0 PID: 0 at kernel/rcutree.c:388 f.isra.48+0xe7/0xf0()",
            "WARNING: CPU: 0 PID: 0 at kernel/rcutree.c:388 f+0xe7/0xf0",
            "WARNING: CPU: 0 PID: 0 at kernel/rcutree.c:388 f.part.0 (kernel/rcutree.c:388 (discriminator 1)) ",
            "WARNING: CPU: 0 PID: 0 at kernel/rcutree.c:388 f+0xe7/0xf0 kernel/rcutree.c:388",
            "WARNING: kernel/rcutree.c:128 at f+0x98/0xa0, CPU#3: swapper/3/0",
            "WARNING: [x != y] kernel/rcutree.c:128 at f+0x98/0xa0, CPU#3: swapper/3/0",
        ] {
            assert_eq!(warn(text), ("kernel/rcutree.c".to_owned(), "f".to_owned(), true), "{text}");
        }
        assert_eq!(
            warn("WARNING: CPU: 0 PID: 0 at kernel/x.c:1 ct_ker"),
            ("kernel/x.c".to_owned(), "ct_ker".to_owned(), false)
        );
        assert_eq!(
            warn("WARNING: CPU: 0 PID: 0 at kernel/x.c:1"),
            ("kernel/x.c".to_owned(), String::new(), false)
        );
    }

    #[test]
    fn a_splat_is_known_by_each_line_that_says_what_is_wrong() {
        for text in [
            "RCU used illegally from extended quiescent state!",
            "include/linux/rcupdate.h:850 rcu_read_lock() used illegally while idle!",
            "kernel/notifier.c:586 notify_die called but RCU thinks we're quiescent!",
        ] {
            assert!(begin(text).is_some_and(|kind| is_middle(&kind)), "{text}");
        }
        for text in [
            "[ INFO: suspicious RCU usage. ]",
            "WARNING: suspicious RCU usage",
            "RCU not watching for tracepoint",
            "------------[ cut here ]------------",
        ] {
            assert!(begin(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_a_boot_says_of_rcu_begins_nothing() {
        for text in [
            "rcu: Hierarchical RCU implementation.",
            "rcu: \tRCU lockdep checking is enabled.",
            "WARNING: this is fine",
            "rcu: Adjusting geometry for rcu_fanout_leaf=16, nr_cpu_ids=4",
            "somebody wrote \"WARNING: suspicious RCU usage\"",
        ] {
            assert_eq!(begin(text), None, "{text}");
        }
        assert!(speaks("somebody wrote \"RCU used illegally from idle CPU!\""));
        assert!(!speaks("pr_warn(\"RCU used illegally from offline CPU!\\n\");"));
        assert!(!speaks("rcu: Hierarchical RCU implementation."));
    }
}
