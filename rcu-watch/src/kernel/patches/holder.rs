//! Who has not moved in a transition: what the task does, which patched function is on its stack, and what would help.
//!
//! The kernel moves a task that sleeps where no function is on its stack that the transition changes, and one that
//! enters or leaves the kernel (kernel/livepatch/transition.c:klp_check_stack). Who stays is in such a function, or has
//! a stack that cannot be trusted, or runs without a pause.

use std::path::Path;

use rcu_watch_core::report::finding::{Holder, StackFrame, TaskReport};
use rcu_watch_core::units::Nanos;

use crate::kernel::read::livepatch::{Livepatch, PatchedFunction};
use crate::kernel::read::patch_state::ThreadId;
use crate::kernel::read::thread::{self, Frame, Thread};

/// Holders that are told by name; the others are counted.
pub(crate) const NAMED: usize = 20;

/// Stacks that a look reads at most: as a transition begins, nobody may have moved.
const STACKS: usize = 2000;

/// A task that has not moved.
#[derive(Clone, Debug)]
pub(super) struct Held {
    id: ThreadId,
    thread: Thread,
    /// The patched function on its stack, and the frame that it is.
    sits: Option<(String, Frame)>,
    /// `None` where it could not be read.
    stack: Option<Vec<Frame>>,
}

/// What a transition makes tasks leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving<'a> {
    pub livepatch: &'a Livepatch,
    /// Where it goes.
    pub to_patched: bool,
    pub all: &'a [Livepatch],
}

/// Those of `staying` that are there still, with a patched function on the stack first; and what could not be read.
pub(super) fn read(proc: &Path, leaving: Leaving<'_>, staying: &[ThreadId]) -> (Vec<Held>, Option<String>) {
    let mut held: Vec<Held> =
        staying.iter().take(STACKS).filter_map(|&id| Held::read(proc, id, leaving)).collect();
    held.sort_by_key(|held| (held.sits.is_none(), held.id));
    let closed = held.iter().filter(|held| held.stack.is_none()).count();
    let unread = if closed > 0 {
        Some(format!("the stacks of {closed} tasks: closed to this process; run as root"))
    } else if staying.len() > STACKS {
        Some(format!(
            "where {} of {} tasks are: the stacks of {STACKS} were read",
            staying.len() - STACKS,
            staying.len()
        ))
    } else {
        None
    };
    (held, unread)
}

impl Held {
    /// `None` where it is gone.
    fn read(proc: &Path, id: ThreadId, leaving: Leaving<'_>) -> Option<Self> {
        let directory = id.directory(proc);
        let thread = Thread::read(&directory)?;
        let stack = thread::stack(&directory).ok();
        let sits = stack.as_ref().and_then(|stack| on_stack(stack, leaving));
        Some(Self { id, thread, sits, stack })
    }

    /// Whether the same task still has the same function on its stack, now that it should have left it.
    pub(super) fn stays(&self, proc: &Path) -> bool {
        let directory = self.id.directory(proc);
        let is_same = Thread::read(&directory).is_some_and(|now| now.start == self.thread.start);
        let has = |(_, frame): &(String, Frame)| {
            let is_there = |now: &Frame| now.function == frame.function && now.module == frame.module;
            thread::stack(&directory).is_ok_and(|stack| stack.iter().any(is_there))
        };
        is_same && self.sits.as_ref().is_some_and(has)
    }

    pub(super) fn report(&self, since_ns: Option<Nanos>) -> Holder {
        let Self { id, thread, sits, stack } = self;
        let ThreadId { tgid, tid } = *id;
        let does = match thread.state {
            'R' => "runs",
            'D' => "sleeps uninterruptibly",
            'T' | 't' => "is stopped",
            'Z' | 'X' => "has ended",
            _ => "sleeps",
        };
        let state = if thread.is_kthread { format!("kthread, {does}") } else { does.to_owned() };
        Holder {
            task: Some(TaskReport { pid: tid, tgid, comm: thread.comm.clone(), idle: false }),
            cpu: None,
            state,
            function: sits.as_ref().map(|(function, _)| function.clone()),
            since_ns,
            help: Some(self.help()),
            stack: stack.iter().flatten().map(StackFrame::from).collect(),
        }
    }

    fn help(&self) -> String {
        let Self { thread: Thread { state, is_kthread, .. }, sits, stack, .. } = self;
        match (sits, stack, state) {
            (Some((function, _)), ..) if *is_kthread => {
                format!("it must return from {function}; if it never does, stop what runs this kthread")
            }
            (Some((function, _)), _, 'S') => format!("it must return from {function}; a signal may wake it"),
            (Some((function, _)), ..) => format!("it must return from {function}"),
            (None, None, _) => "where it is cannot be read; run as root".to_owned(),
            (None, _, 'R') if *is_kthread => "it must sleep outside of the patched functions".to_owned(),
            (None, _, 'R') => "it must sleep, or go to user space".to_owned(),
            (None, ..) if *is_kthread => {
                "no patched function is on its stack: the kernel may not trust that stack".to_owned()
            }
            (None, ..) => "no patched function is on its stack: it moves as it goes to user space".to_owned(),
        }
    }
}

/// An idle task: /proc has none of them, and which CPU's it is cannot be told from there.
pub(super) fn idle() -> Holder {
    Holder {
        state: "the idle task of some CPU".to_owned(),
        help: Some("give every CPU something to run: `taskset -c CPU true`".to_owned()),
        ..Holder::default()
    }
}

/// The patched function that is on a stack, innermost first: what the transition leaves.
///
/// Towards the livepatch that is the function itself, or what an earlier livepatch put in its place; back from it, what
/// this livepatch did.
fn on_stack(stack: &[Frame], leaving: Leaving<'_>) -> Option<(String, Frame)> {
    let found = stack.iter().find_map(|frame| Some((replaced_by(frame, leaving)?, frame)));
    found.map(|(function, frame)| (function, frame.clone()))
}

fn replaced_by(frame: &Frame, leaving: Leaving<'_>) -> Option<String> {
    let Leaving { livepatch, to_patched, all } = leaving;
    let is_of = |patch: &Livepatch| frame.module.as_ref() == Some(&patch.name);
    if !to_patched {
        return is_of(livepatch).then(|| name_of(frame, &livepatch.functions));
    }
    let object = frame.module.as_deref().unwrap_or("vmlinux");
    let is_original =
        |function: &&PatchedFunction| function.object == object && function.function == frame.function;
    let is_earlier =
        |other: &&Livepatch| other.name != livepatch.name && is_of(other) && shares(other, livepatch);
    let original = livepatch.functions.iter().find(is_original).map(|function| function.function.clone());
    original.or_else(|| all.iter().find(is_earlier).map(|earlier| name_of(frame, &earlier.functions)))
}

fn shares(one: &Livepatch, other: &Livepatch) -> bool {
    let same = |a: &PatchedFunction, b: &PatchedFunction| a.object == b.object && a.function == b.function;
    one.functions.iter().any(|a| other.functions.iter().any(|b| same(a, b)))
}

/// The function that this one replaces, by its name, which it has or is a part of it as a rule; else its own name.
fn name_of(frame: &Frame, functions: &[PatchedFunction]) -> String {
    let names = || functions.iter().map(|function| function.function.as_str());
    let same = names().find(|name| *name == frame.function);
    let part = || names().filter(|name| frame.function.contains(name)).max_by_key(|name| name.len());
    same.or_else(part).unwrap_or(&frame.function).to_owned()
}
