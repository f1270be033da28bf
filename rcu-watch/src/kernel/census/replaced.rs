//! Kprobes in the body of a function that a livepatch replaced: nothing enters that body any more.

use rcu_watch_core::condition::dead::because_replaced;
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerState, HookKind, Place};

use crate::kernel::read::livepatch::Livepatch;

/// Stops the kprobes that lie in replaced bodies, once no task runs these any more.
///
/// A kretprobe, and a kprobe on the ftrace site, are at the place that the livepatch shares with them, and run.
pub(super) fn stop(livepatches: &[Livepatch], handlers: &mut [HandlerReport]) {
    let is_settled =
        |name: &str| livepatches.iter().any(|it| it.name == name && it.enabled && !it.in_transition);
    let replaced: Vec<_> = handlers
        .iter()
        .filter(|it| {
            it.kind == HookKind::Livepatch && it.state == HandlerState::Alive && is_settled(&it.name)
        })
        // Of several functions of one name nothing tells which is meant.
        .filter_map(|it| Some((it.address?, it.name.clone())))
        .collect();
    for handler in handlers.iter_mut().filter(|it| it.kind == HookKind::Kprobe && it.place == Place::Offset) {
        let patch = replaced.iter().find(|(address, _)| Some(*address) == handler.address);
        if let Some((_, patch)) = patch {
            handler.stop(HandlerState::Dead, because_replaced(patch));
        }
    }
}
