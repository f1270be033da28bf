//! Looks for runs of somebody's handlers that the kernel skipped: RW017.
//!
//! The kernel counts them and tells nobody. Every two seconds all counters are read, which costs some system calls a
//! program; what they stood at in the first look is of before the run.

use std::time::Duration;

use rcu_watch_core::RuleId;
use rcu_watch_core::condition::Looked;
use rcu_watch_core::units::Nanos;

use super::{Look, Sighted};
use crate::kernel::facts::ask::RunningKernel;
use crate::kernel::misses::Counters;
use crate::kernel::mount::Tree;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// How far each counter was.
pub(super) struct MissedRuns {
    tree: Tree,
    before: Option<Counters>,
}

impl MissedRuns {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, before: None }
    }
}

impl Look for MissedRuns {
    fn pause(&self) -> Duration {
        PAUSE
    }

    fn look(&mut self, _now: Nanos) -> Sighted {
        let mut counters = Counters::read(&self.tree, self.before.as_ref());
        let conditions = match &self.before {
            Some(before) => counters.since(before, &self.tree, &RunningKernel),
            None => Vec::new(),
        };
        let looked = vec![(RuleId::HandlerMissed, looked(&counters))];
        self.before = Some(counters);
        Sighted { conditions, looked, ..Sighted::default() }
    }
}

fn looked(counters: &Counters) -> Looked {
    match counters.untold.first() {
        Some(reason) => Looked::Blind(reason.to_string()),
        None if counters.counters.is_empty() => {
            Looked::Nothing("nobody has a handler whose skipped runs are counted".to_owned())
        }
        None => Looked::Judged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::read::support::Reason;

    #[test]
    fn what_the_kernel_does_not_count_is_blindness() {
        let mut counters = Counters::default();
        assert!(matches!(looked(&counters), Looked::Nothing(_)));
        counters.untold.push(Reason::new("this kernel does not count them"));
        assert_eq!(looked(&counters), Looked::Blind("this kernel does not count them".to_owned()));
    }
}
