//! Looks at the livepatches, and tells of a transition that does not come to its end, or was forced to it.
//!
//! That one begins or ends is for `session::follow` to say, which looks ten times as often and at less.

use std::time::Duration;

use rcu_watch_core::RuleId;
use rcu_watch_core::condition::Looked;
use rcu_watch_core::condition::transition::Transitions;
use rcu_watch_core::units::Nanos;

use super::{Look, Sighted};
use crate::kernel::mount::Tree;
use crate::kernel::patches::Patches;

/// Between two looks. The kernel itself looks once a second whether it is done
/// (kernel/livepatch/transition.c:klp_try_complete_transition).
const PAUSE: Duration = Duration::from_secs(1);

const RULES: [RuleId; 2] = [RuleId::TransitionStalled, RuleId::ConsistencyForced];

/// The look for RW018 and RW019.
pub(super) struct StalledTransitions {
    patches: Patches,
    transitions: Transitions,
}

impl StalledTransitions {
    pub(super) fn new(tree: Tree, stall_after: Duration) -> Self {
        let stall_after = u64::try_from(stall_after.as_nanos()).unwrap_or(u64::MAX);
        Self { patches: Patches::new(tree, Nanos(stall_after)), transitions: Transitions::default() }
    }
}

impl Look for StalledTransitions {
    fn pause(&self) -> Duration {
        PAUSE
    }

    fn look(&mut self, now: Nanos) -> Sighted {
        let looked = |looked: Looked| RULES.map(|rule| (rule, looked.clone())).to_vec();
        if let Some(reason) = self.patches.absent() {
            return Sighted { looked: looked(Looked::Nothing(reason.to_string())), ..Sighted::default() };
        }
        let seen = match self.patches.look(now) {
            Ok(seen) => seen,
            Err(reason) => {
                let blind = looked(Looked::Blind(reason.to_string()));
                return Sighted { looked: blind, ..Sighted::default() };
            }
        };
        let is_any = !seen.patches.is_empty() || !seen.forced.is_empty();
        let what = if is_any { Looked::Judged } else { Looked::Nothing("no livepatch is loaded".to_owned()) };
        let conditions = self.transitions.look(now, &seen).conditions;
        Sighted { conditions, looked: looked(what), ..Sighted::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const STALL_AFTER: Duration = Duration::from_secs(15);

    #[test]
    fn without_livepatches_there_is_nothing_to_judge_and_why_is_said() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("sys/kernel")).unwrap();
        let mut look = StalledTransitions::new(Tree::under(root.path()), STALL_AFTER);
        let reason = |sighted: Sighted| match &sighted.looked[..] {
            [(RuleId::TransitionStalled, Looked::Nothing(why)), (RuleId::ConsistencyForced, _)] => {
                why.clone()
            }
            other => panic!("{other:?}"),
        };
        assert!(reason(look.look(Nanos(1))).contains("CONFIG_LIVEPATCH"));
        fs::create_dir_all(root.path().join("sys/kernel/livepatch")).unwrap();
        assert!(reason(look.look(Nanos(2))).contains("no livepatch is loaded"));
    }

    #[test]
    fn a_transition_is_told_once_it_is_old_enough_and_not_again_while_nothing_changes() {
        let root = tempfile::tempdir().unwrap();
        let patch = root.path().join("sys/kernel/livepatch/fix");
        fs::create_dir_all(patch.join("vmlinux/do_it,1")).unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(patch.join("enabled"), "1\n").unwrap();
        fs::write(patch.join("transition"), "1\n").unwrap();
        let mut look = StalledTransitions::new(Tree::under(root.path()), STALL_AFTER);
        let mut rules = Vec::new();
        for second in [1, 10, 20, 21, 22] {
            let sighted = look.look(Nanos(second * 1_000_000_000));
            assert_eq!(sighted.looked[0], (RuleId::TransitionStalled, Looked::Judged));
            rules.extend(sighted.conditions.into_iter().map(|condition| (second, condition.rule)));
        }
        assert_eq!(rules.first(), Some(&(20, RuleId::TransitionStalled)));
        assert!(rules.len() <= 2, "{rules:?}");
    }
}
