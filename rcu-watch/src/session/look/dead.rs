//! Looks for handlers that cannot run: RW016.
//!
//! Each look reads what is cheap, a few small files and the ids of the programs; only where that reads differently than
//! before are all lists read, some 100 ms of a CPU, and then again after a moment where something is found: what only
//! one of the two shows is being changed. What was told is not told again until it was gone in between.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rcu_watch_core::RuleId;
use rcu_watch_core::condition::Looked;
use rcu_watch_core::condition::dead::{Dead, Signs, dead};
use rcu_watch_core::units::Nanos;

use super::{Look, Sighted};
use crate::kernel::facts::ask::RunningKernel;
use crate::kernel::mount::Tree;
use crate::kernel::signs::{self, Read};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// To read all lists takes at most one part in so many of the time, however long they are.
const SHARE: u32 = 20;
/// Between the two readings that must agree: longer than the kernel takes to put a handler in its place.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// What the last look saw.
pub(super) struct DeadHandlers {
    tree: Tree,
    pause: Duration,
    /// Of what [`Self::state`] says.
    fingerprint: Option<u64>,
    state: State,
    /// Function and key of what was told and is so still.
    told: BTreeSet<(String, String)>,
}

/// What both readings agreed on.
#[derive(Default)]
struct State {
    dead: Dead,
    looked: Option<Looked>,
}

impl DeadHandlers {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, pause: PAUSE, fingerprint: None, state: State::default(), told: BTreeSet::new() }
    }

    /// Reads all lists unless nothing has changed since.
    fn read(&mut self) {
        let fingerprint = signs::fingerprint(&self.tree, &RunningKernel);
        if self.fingerprint == Some(fingerprint) {
            return;
        }
        let began = Instant::now();
        let first = signs::read(&self.tree, &RunningKernel);
        let mut found = dead(&first.signs);
        let mut is_settled = true;
        if found != Dead::default() {
            thread::sleep(SECOND_LOOK);
            let second = dead(&signs::read(&self.tree, &RunningKernel).signs);
            is_settled = second == found;
            found = second.agrees_with(&found);
        }
        self.pause = PAUSE.max(began.elapsed() * SHARE);
        // What was in flux is looked at anew.
        self.fingerprint = is_settled.then_some(fingerprint);
        self.state = State { dead: found, looked: Some(looked(&first)) };
    }
}

impl Look for DeadHandlers {
    fn pause(&self) -> Duration {
        self.pause
    }

    fn look(&mut self, _now: Nanos) -> Sighted {
        self.read();
        let State { dead, looked } = &self.state;
        let key = |condition: &rcu_watch_core::condition::Condition| {
            (condition.function.clone(), condition.key.clone())
        };
        let conditions = dead.conditions.iter().filter(|condition| !self.told.contains(&key(condition)));
        let conditions = conditions.cloned().collect();
        self.told = dead.conditions.iter().map(key).collect();
        Sighted {
            conditions,
            looked: looked.iter().map(|looked| (RuleId::HandlerDead, looked.clone())).collect(),
            unmet: dead.unmet.clone(),
            ..Sighted::default()
        }
    }

    fn last(&mut self, now: Nanos) -> Sighted {
        self.fingerprint = None;
        self.look(now)
    }
}

fn looked(read: &Read) -> Looked {
    let Signs { handlers, patched, .. } = &read.signs;
    match read.unread.first() {
        Some(reason) => Looked::Blind(reason.to_string()),
        None if handlers.iter().all(|listed| listed.handler.ours) && patched.is_empty() => {
            Looked::Nothing("nobody has a handler on this kernel".to_owned())
        }
        None => Looked::Judged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::read::support::Reason;

    #[test]
    fn a_list_that_cannot_be_read_is_blindness_and_an_empty_kernel_is_not_judged() {
        let mut read = Read { signs: Signs::default(), unread: Vec::new() };
        assert!(matches!(looked(&read), Looked::Nothing(_)));
        read.unread.push(Reason::with_remedy("debugfs is not mounted", "mount it"));
        assert_eq!(looked(&read), Looked::Blind("debugfs is not mounted; mount it".to_owned()));
    }
}
