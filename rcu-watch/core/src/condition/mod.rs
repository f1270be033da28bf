//! What is wrong with the kernel's handlers by its own lists, and not by the hit of a probe.
//!
//! A handler that cannot run hits nothing, and a transition that stalls calls nobody: no probe sees them. A run looks at
//! the kernel's lists again and again instead. What a look read goes in here as plain values; what it means comes out
//! as [`Condition`]s, which go the same way as findings of probes: folded, counted, told, recorded and replayed.

pub mod dead;
pub mod grace_period;
pub mod handler_change;
pub mod holder;
pub mod missed;
pub mod transition;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::finding::{RuleId, Severity};
use crate::probe::Handler;
use crate::report::witness::{Holder, Source, StackFrame, TaskReport};
use crate::units::CpuId;

/// Something that a look found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The rule that it breaks.
    pub rule: RuleId,
    /// How bad it is.
    pub severity: Severity,
    /// What is so, in half a sentence.
    pub because: String,
    /// The function; of a livepatch its name, of a grace period its flavour.
    pub function: String,
    /// Whose handlers it is about.
    pub handlers: Vec<Handler>,
    /// Who holds up what does not come to its end.
    pub holders: Vec<Holder>,
    /// What to do about it.
    pub help: Option<String>,
    /// Who says so.
    pub source: Source,
    /// The CPU that it was seen on, where it is one.
    #[serde(default)]
    pub cpu: Option<CpuId>,
    /// The task that it is about, where it is one.
    pub task: Option<TaskReport>,
    /// Where that task is, innermost first.
    pub stack: Vec<StackFrame>,
    /// Tells it apart from others of the same rule and function: the same again is counted, another is told anew.
    pub key: String,
    /// How often it happened since the last look.
    pub count: u64,
}

impl Condition {
    /// A condition with nothing but what each one has; the rest is filled in.
    #[must_use]
    pub fn new(rule: RuleId, severity: Severity, function: String, because: String) -> Self {
        Self {
            rule,
            severity,
            because,
            function,
            handlers: Vec::new(),
            holders: Vec::new(),
            help: None,
            source: Source::Lists,
            cpu: None,
            task: None,
            stack: Vec::new(),
            key: String::new(),
            count: 1,
        }
    }
}

/// What a look could say of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Looked {
    /// There was something to judge, and it was judged.
    Judged,
    /// Nothing that it judges is there: why.
    Nothing(String),
    /// It could not be read: why, and what to do about it.
    Blind(String),
}

impl Looked {
    /// What several looks come to: one that was blind may have missed something, whatever the others saw.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::Blind(why), _) | (_, Self::Blind(why)) => Self::Blind(why),
            (Self::Judged, _) | (_, Self::Judged) => Self::Judged,
            (_, later) => later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_blind_once_is_not_made_good_by_the_others() {
        let (nothing, blind) = (Looked::Nothing("none".to_owned()), Looked::Blind("hidden".to_owned()));
        assert_eq!(Looked::Judged.and(blind.clone()), blind);
        assert_eq!(blind.clone().and(Looked::Judged), blind);
        assert_eq!(Looked::Judged.and(nothing.clone()), Looked::Judged);
        assert_eq!(nothing.clone().and(Looked::Judged), Looked::Judged);
        assert_eq!(nothing.clone().and(nothing.clone()), nothing);
    }
}
