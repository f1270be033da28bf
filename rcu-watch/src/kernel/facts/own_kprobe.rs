//! The kprobes of this process, told apart from those of others in the kernel's list.
//!
//! From 5.15 to 6.6 no interface says which line of the list is whose. A line is ours where it is on a function that
//! we have a kprobe on, and of two such lines the one that sits as ours does.

use rcu_watch_core::probe::Mechanism;

use crate::kernel::read::kprobe::Kprobe;
use crate::kernel::read::program::KprobeProgram;

/// Kprobe programs of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnKprobes {
    pub kprobes: Vec<OwnKprobe>,
    /// How many are loaded and attached to no function.
    pub resting: usize,
    /// Counts what this process attached and detached, by whatever mechanism.
    pub moves: u64,
}

/// A kprobe of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnKprobe {
    pub function: String,
    /// It sits on the function's ftrace site, and not on an instruction of its own.
    pub is_on_ftrace: bool,
}

impl OwnKprobe {
    /// `None` where a probe by this mechanism does not show in the kernel's list.
    #[must_use]
    pub(crate) fn of(mechanism: Mechanism, function: &str) -> Option<Self> {
        let is_on_ftrace = mechanism == Mechanism::KprobeFtrace;
        is_kprobe(mechanism).then(|| Self { function: function.to_owned(), is_on_ftrace })
    }
}

/// Whether a probe by this mechanism shows in the kernel's kprobes list.
#[must_use]
pub(crate) const fn is_kprobe(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::KprobeFtrace | Mechanism::KprobeInt3)
}

/// Which lines of the list are ours, one for each of `own`: none that a program accounts for.
pub(super) fn lines(own: &[&OwnKprobe], kprobes: &[&Kprobe], owners: &[Option<&KprobeProgram>]) -> Vec<bool> {
    let mut is_ours = vec![false; kprobes.len()];
    for own in own {
        let is_free = |&index: &usize| {
            owners[index].is_none() && !is_ours[index] && kprobes[index].function == own.function
        };
        let sits_alike = |index: &usize| kprobes[*index].is_on_ftrace == own.is_on_ftrace;
        let mut free = (0..kprobes.len()).filter(is_free);
        let any = free.clone().next();
        if let Some(index) = free.find(sits_alike).or(any) {
            is_ours[index] = true;
        }
    }
    is_ours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::read::kprobe;

    #[test]
    fn of_two_lines_on_one_function_ours_is_the_one_that_sits_as_ours_does() {
        let list = "ffffffff8551c2f9  k  cmdline_proc_show+0x9    [OPTIMIZED]\nffffffff8551c2f4  k  cmdline_proc_show+0x4    [FTRACE]\n";
        let kprobes = kprobe::read(list.as_bytes()).unwrap();
        let kprobes: Vec<&Kprobe> = kprobes.iter().collect();
        let which = |mechanism| {
            let own = OwnKprobe::of(mechanism, "cmdline_proc_show").unwrap();
            lines(&[&own], &kprobes, &[None, None])
        };
        assert_eq!(which(Mechanism::KprobeFtrace), [false, true]);
        assert_eq!(which(Mechanism::KprobeInt3), [true, false]);
        assert_eq!(OwnKprobe::of(Mechanism::Fentry, "cmdline_proc_show"), None);
    }
}
