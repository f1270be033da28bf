//! What a live run knows beside its records: the kernel's symbols, and what a write of S meant.

use rcu_watch_core::report::finding::StackFrame;
use rcu_watch_core::snapshot::Snapshot;
use rcu_watch_core::stream::{Host, Sight};
use rcu_watch_core::units::{Address, Nanos};

use super::symbols::Symbols;
use super::watch::Causes;
use crate::clock;
use crate::recording::Recorder;

/// Answers for the kernel that this runs on; records the names that it gave.
pub(super) struct LiveHost<'a> {
    pub symbols: &'a mut Symbols,
    pub recorder: Option<&'a mut Recorder>,
    pub causes: &'a mut Causes,
}

impl Host for LiveHost<'_> {
    fn name(&mut self, address: Address) -> Option<String> {
        self.symbols.name(address)
    }

    fn sight(&mut self, snapshot: &Snapshot<'_>) -> Sight {
        self.causes.count(snapshot).map_or(Sight::Itself, Sight::Write)
    }

    fn named(&mut self, stack: &[StackFrame]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.names(stack);
        }
    }

    fn now(&self, _latest: Nanos) -> Nanos {
        clock::now()
    }
}
