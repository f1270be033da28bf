//! What must be so before a run detaches: ftrace is on.
//!
//! A trampoline that is detached while `kernel.ftrace_enabled` is 0 leaves its flags in ftrace's record of the function.
//! Once ftrace is on again, whoever unhooks something next meets the kernel's warning (kernel/trace/ftrace.c:
//! ftrace_shutdown), and ftrace is dead until the next boot: nobody's tracer, kprobe or livepatch works any more. So
//! the run waits, and says what for; a signal ends the wait, and the risk is then told in the summary.

use std::time::Duration;

use anyhow::Result;
use rcu_watch_core::probe::Mechanism;
use tokio::time::{MissedTickBehavior, interval};

use super::Session;
use super::signals::Signals;
use crate::kernel::mount::Tree;
use crate::kernel::read::switch::Switches;
use crate::outlet;

/// Between two looks at the switch.
const LOOK: Duration = Duration::from_millis(100);
/// Records that are taken at a look: the ring must not fill meanwhile.
const BATCH: usize = 4096;

/// Whether a probe of this kind must stay where it is: ftrace is off, and not for good.
#[must_use]
pub(super) fn would_harm_ftrace(mechanism: Mechanism) -> bool {
    is_trampoline(mechanism) && is_off()
}

const fn is_trampoline(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Fentry | Mechanism::Fexit)
}

fn is_off() -> bool {
    Switches::read(&Tree::live()).ftrace_calls_nobody()
}

/// Returns when everything may be detached, or when a signal says that it is to be.
///
/// # Errors
/// Where the stream cannot be written.
pub async fn wait_for_ftrace(session: &mut Session, signals: &mut Signals) -> Result<()> {
    if !session.has_trampolines() || !is_off() {
        return Ok(());
    }
    outlet::say(
        "rcu-watch: kernel.ftrace_enabled is 0, and to detach now would break ftrace until the next boot; waiting for \
         `sysctl kernel.ftrace_enabled=1` (a signal detaches all the same)\n",
    );
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = signals.any() => {
                session.doubts.push(
                    "trampolines were detached while kernel.ftrace_enabled was 0, which may break ftrace as soon as it \
                     is on; reboot if the kernel warns of ftrace_shutdown"
                        .to_owned(),
                );
                return Ok(());
            }
            _ = look.tick() => {
                session.drain(BATCH)?;
                if !is_off() {
                    return Ok(());
                }
            }
        }
    }
}

impl Session {
    /// Whether a trampoline of ours is on some function.
    fn has_trampolines(&self) -> bool {
        let is_on = |id| !self.detached.contains(id);
        self.probes.iter().any(|running| is_trampoline(running.probe.mechanism) && is_on(&running.id))
    }
}
