//! What a thread does, from `/proc/PID/task/TID/stat`, and where it is in the kernel, from `stack` there.

use std::io;
use std::path::Path;

use rcu_watch_core::report::finding::StackFrame;

/// include/linux/sched.h
pub(crate) const PF_KTHREAD: u64 = 0x0020_0000;

/// A thread, as `stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    pub comm: String,
    /// `R`, `S`, `D`...
    pub state: char,
    pub is_kthread: bool,
    /// When it started, in the kernel's clock ticks: tells it from a later one of the same number.
    pub start: u64,
}

impl Thread {
    /// `None` where the thread is gone.
    #[must_use]
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let stat = std::fs::read(directory.join("stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&stat))
    }

    /// `7 (kworker/0:1) S 2 0 ...`: the name may have any character, so that its end is the last parenthesis.
    fn parse(stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, comm) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are counted from 1 in proc(5), the state is the third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            comm: comm.to_owned(),
            state: fields.first()?.chars().next()?,
            is_kthread: number(9)? & PF_KTHREAD != 0,
            start: number(22)?,
        })
    }
}

/// A function on a thread's kernel stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub function: String,
    /// `+0x1c`
    pub offset: String,
    pub module: Option<String>,
}

impl From<&Frame> for StackFrame {
    fn from(frame: &Frame) -> Self {
        let Frame { function, offset, module } = frame;
        let module = module.as_ref().map_or_else(String::new, |module| format!(" [{module}]"));
        Self { address: None, symbol: Some(format!("{function}{offset}{module}")) }
    }
}

/// The thread's kernel stack, innermost first; none of it where it runs right now: the kernel tells nothing of a task
/// that is on a CPU (arch/x86/kernel/unwind_orc.c:__unwind_start).
///
/// # Errors
/// Where it may not be read, or the thread is gone.
pub(crate) fn stack(directory: &Path) -> io::Result<Vec<Frame>> {
    let text = std::fs::read_to_string(directory.join("stack"))?;
    Ok(text.lines().filter_map(frame).collect())
}

/// `[<0>] schedule+0x5d/0xd0` or `[<0>] show+0x1/0x2 [module]` (fs/proc/base.c:proc_pid_stack).
fn frame(line: &str) -> Option<Frame> {
    let (_, symbol) = line.split_once("] ")?;
    let (symbol, module) = match symbol.trim_end().strip_suffix(']').and_then(|rest| rest.split_once(" [")) {
        // A kernel with build ids writes `module BUILDID`.
        Some((symbol, module)) => (symbol, module.split(' ').next().map(str::to_owned)),
        None => (symbol.trim_end(), None),
    };
    let place = symbol.split_once('/').map_or(symbol, |(place, _)| place);
    let (function, offset) = place.rsplit_once('+').unwrap_or((place, "+0x0"));
    let offset = format!("+{}", offset.trim_start_matches('+'));
    Some(Frame { function: function.to_owned(), offset, module })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_parentheses_and_blanks() {
        let stat = "7 (a) S (b) c) D 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let thread = Thread::parse(stat).unwrap();
        assert_eq!(thread, Thread { comm: "a) S (b) c".into(), state: 'D', is_kthread: true, start: 4711 });
        assert_eq!(Thread::parse("7 (a"), None);
    }

    #[test]
    fn a_frame_has_its_function_and_module() {
        let parsed = |line| frame(line).map(|frame| StackFrame::from(&frame).label());
        assert_eq!(parsed("[<0>] schedule+0x5d/0xd0").as_deref(), Some("schedule+0x5d"));
        assert_eq!(parsed("[<0>] f.isra.0+0x1/0x2 [m]").as_deref(), Some("f.isra.0+0x1 [m]"));
        assert_eq!(parsed("[<0>] f+0x1/0x2 [m 0123abcd]").as_deref(), Some("f+0x1 [m]"));
        assert_eq!(frame("[<0>] f+0x1/0x2 [m]").unwrap().module.as_deref(), Some("m"));
        assert_eq!(parsed(""), None);
    }
}
