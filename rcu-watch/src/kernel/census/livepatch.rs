//! Livepatches: a handler for each function that one replaces.

use rcu_watch_core::probe::{Owner, Reliance};
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerState, HookKind};

use super::place::Functions;
use super::source::Sources;

pub(super) fn count(sources: &Sources, functions: &Functions<'_>, handlers: &mut Vec<HandlerReport>) {
    for patch in sources.livepatches.iter().flatten() {
        for patched in &patch.functions {
            let module = Some(patched.object.as_str()).filter(|&object| object != "vmlinux");
            // Its handler runs anywhere since 842c08846420 ("livepatch: Fix stacking of patches with respect to
            // RCU"); the replacement that it calls is ordinary code.
            let mut handler = HandlerReport::new(HookKind::Livepatch, patch.name.clone(), Reliance::Relies);
            functions.nth(&patched.function, module, patched.sympos).put(&mut handler);
            handler.owner = Some(Owner::Module { name: patch.name.clone() });
            match module {
                Some(module) if !sources.modules.contains(module) => {
                    handler.stop(HandlerState::Off, format!("waits for module {module}"));
                }
                _ if !patch.enabled && !patch.in_transition => {
                    handler.stop(HandlerState::Off, "the livepatch is disabled");
                }
                _ if sources.switches.ftrace_calls_nobody() => {
                    handler.stop(HandlerState::Dead, super::source::SWITCHED_OFF);
                }
                _ if patch.in_transition => {
                    handler.because = Some("in transition: some tasks run the other body".to_owned());
                }
                _ => {}
            }
            handlers.push(handler);
        }
    }
}
