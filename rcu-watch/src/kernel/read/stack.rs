//! Where a thread is in the kernel, from `/proc/PID/task/TID/stack`.

use std::path::Path;

use rcu_watch_core::report::finding::StackFrame;

/// The kernel stack of the thread whose directory this is, innermost first. Empty where it may not be read, where the
/// thread is gone, and while it runs: the kernel tells nothing of a task that is on another CPU
/// (arch/x86/kernel/unwind_orc.c:__unwind_start).
#[must_use]
pub(crate) fn of_thread(directory: &Path) -> Vec<StackFrame> {
    let text = std::fs::read_to_string(directory.join("stack")).unwrap_or_default();
    text.lines().filter_map(frame).collect()
}

/// `[<0>] schedule+0x5d/0xd0` or `[<0>] show+0x1/0x2 [module]` (fs/proc/base.c:proc_pid_stack). A kernel with build ids
/// writes them behind the module's name.
fn frame(line: &str) -> Option<StackFrame> {
    let (_, rest) = line.split_once("] ")?;
    let mut words = rest.split_ascii_whitespace();
    let place = words.next()?;
    let place = place.split_once('/').map_or(place, |(place, _)| place);
    let symbol = match words.next() {
        Some(module) => format!("{place} [{}]", module.trim_matches(['[', ']'])),
        None => place.to_owned(),
    };
    Some(StackFrame { address: None, symbol: Some(symbol) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_function_and_module() {
        let label = |line| frame(line).map(|frame| frame.label());
        assert_eq!(label("[<0>] schedule+0x5d/0xd0").as_deref(), Some("schedule+0x5d"));
        assert_eq!(label("[<0>] f.isra.0+0x1/0x2 [m]").as_deref(), Some("f.isra.0+0x1 [m]"));
        assert_eq!(label("[<0>] f+0x1/0x2 [m 0123abcd]").as_deref(), Some("f+0x1 [m]"));
        assert_eq!(label(""), None);
    }

    #[test]
    fn a_thread_that_is_gone_has_no_stack() {
        assert_eq!(of_thread(Path::new("/proc/0/task/0")), []);
    }
}
