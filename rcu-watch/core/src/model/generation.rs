//! The layouts of RCU's per-CPU state, oldest first, as data (docs/kernel.md, Generations).
//!
//! A generation is found by features, never by a version number: distributions backport RCU freely.

use core::fmt;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::units::{Counter, StateWord};

/// `DYNTICK_IRQ_NONIDLE` / `CT_NESTING_IRQ_NONIDLE`: M of code that no EQS lies under.
pub const NON_IDLE: i64 = (i64::MAX / 2) + 1;

/// `DYNTICK_TASK_NEST_VALUE` of kernel/rcu/rcu.h up to 4.15.
pub const TASK_NEST_VALUE: i64 = (i64::MAX >> 7) + 1;
/// `DYNTICK_TASK_NEST_MASK`: the bits of N that count tasks rather than irqs.
pub const TASK_NEST_MASK: i64 = i64::MAX - TASK_NEST_VALUE + 1;
/// `DYNTICK_TASK_EXIT_IDLE`: N of a task with no irq on top.
pub const TASK_EXIT_IDLE: i64 = TASK_NEST_VALUE + (TASK_NEST_VALUE / 8) * 2;

/// How a kernel keeps S, N and M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// Up to 4.11: watching is the bottom bit.
    G0a,
    /// 4.12 to 4.15, of the thread of 2017: bit 0 became a request bit.
    G0b,
    /// 4.16 to 4.19: N is simple, M counts irqs and NMIs.
    /// a0eb22bf64a7 ("rcu: Reduce dyntick-idle state space").
    G1,
    /// 4.20 to 5.14: moved into `rcu_data`.
    G2,
    /// 5.15 to 5.19: bit 0 again. a86baa69c2b7 ("rcu: Remove special bit at the bottom of the ->dynticks counter").
    G3,
    /// 6.0 to 6.11: moved into `context_tracking.state`, which also holds the context.
    G4,
    /// 6.12 and later: the members were renamed.
    G5,
}

/// What sets a generation apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `G0a` to `G5`.
    pub name: &'static str,
    /// Struct and members that hold S, N and M.
    pub object: &'static str,
    /// The member that is S.
    pub state_member: &'static str,
    /// The member that is N.
    pub nesting_member: &'static str,
    /// The member that is M.
    pub nmi_nesting_member: &'static str,
    /// Bit of S that says RCU watches.
    pub watching_mask: u32,
    /// What one transition adds to S.
    pub step: u32,
    /// Bits of S that hold the context; 0 where S does not hold it.
    pub context_mask: u32,
    /// N of a task.
    pub rest_nesting: i64,
    /// M of a task.
    pub rest_nmi_nesting: i64,
}

impl Generation {
    /// Every generation, from the oldest.
    pub const ALL: [Self; 7] = [Self::G0a, Self::G0b, Self::G1, Self::G2, Self::G3, Self::G4, Self::G5];

    /// Where this generation keeps S, N and M, and what they hold at rest.
    #[must_use]
    pub const fn layout(self) -> &'static Layout {
        const TABLE: [Layout; 7] = [
            layout("G0a", "rcu_dynticks", RCU_DATA, 0x1, 1, 0, TASK_EXIT_IDLE, 0),
            layout("G0b", "rcu_dynticks", RCU_DATA, 0x2, 2, 0, TASK_EXIT_IDLE, 0),
            layout("G1", "rcu_dynticks", RCU_DATA, 0x2, 2, 0, 1, NON_IDLE),
            layout("G2", "rcu_data", RCU_DATA, 0x2, 2, 0, 1, NON_IDLE),
            layout("G3", "rcu_data", RCU_DATA, 0x1, 1, 0, 1, NON_IDLE),
            layout(
                "G4",
                "context_tracking",
                ["state", "dynticks_nesting", "dynticks_nmi_nesting"],
                0x4,
                4,
                0x3,
                1,
                NON_IDLE,
            ),
            layout("G5", "context_tracking", ["state", "nesting", "nmi_nesting"], 0x4, 4, 0x3, 1, NON_IDLE),
        ];
        &TABLE[self as usize]
    }

    /// Finds a generation by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|generation| generation.layout().name == name)
    }

    /// Whether N and M count as before 4.16: tasks and irqs in N, NMIs alone in M.
    #[must_use]
    pub const fn counts_irqs_in_nesting(self) -> bool {
        matches!(self, Self::G0a | Self::G0b)
    }

    /// Whether RCU watches, by S.
    #[must_use]
    pub const fn watches(self, state: StateWord) -> bool {
        state.0 & self.layout().watching_mask != 0
    }

    /// The context that S holds; `None` before 6.0.
    #[must_use]
    pub const fn context(self, state: StateWord) -> Option<Context> {
        let mask = self.layout().context_mask;
        if mask == 0 {
            return None;
        }
        Some(match state.0 & mask {
            0 => Context::Kernel,
            1 => Context::Idle,
            2 => Context::User,
            _ => Context::Guest,
        })
    }

    /// What M says of the code under the outermost counted context.
    #[must_use]
    pub const fn base(self, nmi_nesting: Counter) -> (Base, i64) {
        let count = nmi_nesting.0;
        let rest = self.layout().rest_nmi_nesting;
        if rest == 0 {
            // Up to 4.15 M is 0 in a task and in an EQS alike: only an odd M tells.
            return if count % 2 != 0 { (Base::Eqs, (count + 1) / 2) } else { (Base::Kernel, count / 2) };
        }
        if count >= rest {
            (Base::Kernel, (count - rest) / 2)
        } else if count % 2 != 0 {
            (Base::Eqs, (count + 1) / 2)
        } else if count == 0 {
            (Base::Eqs, 0)
        } else {
            (Base::Window, count / 2)
        }
    }
}

const RCU_DATA: [&str; 3] = ["dynticks", "dynticks_nesting", "dynticks_nmi_nesting"];

#[expect(clippy::too_many_arguments, reason = "one row of the table, in the order of its columns")]
const fn layout(
    name: &'static str,
    object: &'static str,
    [state_member, nesting_member, nmi_nesting_member]: [&'static str; 3],
    watching_mask: u32,
    step: u32,
    context_mask: u32,
    rest_nesting: i64,
    rest_nmi_nesting: i64,
) -> Layout {
    Layout {
        name,
        object,
        state_member,
        nesting_member,
        nmi_nesting_member,
        watching_mask,
        step,
        context_mask,
        rest_nesting,
        rest_nmi_nesting,
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.layout().name)
    }
}

/// `CONTEXT_*` / `CT_STATE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Context {
    /// Kernel code of a task.
    Kernel,
    /// The idle loop.
    Idle,
    /// User mode.
    User,
    /// A virtual machine's guest.
    Guest,
}

impl Context {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What the outermost counted context interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Base {
    /// Code that RCU watched already: M counts from its value at rest.
    Kernel,
    /// An EQS: M counts from zero.
    Eqs,
    /// A transition into or out of an EQS.
    Window,
}

impl Base {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_words_of_every_generation_are_watched_and_at_rest() {
        // From the kernels' own static initialisers (docs/kernel.md, Generations).
        let initial = [1, 2, 2, 2, 1, 4, 4];
        for (generation, state) in Generation::ALL.into_iter().zip(initial) {
            let state = StateWord(state);
            assert!(generation.watches(state), "{generation}");
            assert_eq!(generation.base(Counter(generation.layout().rest_nmi_nesting)), (Base::Kernel, 0));
            assert!(!generation.watches(StateWord(state.0 + generation.layout().step)), "{generation}");
        }
        assert_eq!(TASK_EXIT_IDLE, 0x0140_0000_0000_0000);
        assert_eq!(NON_IDLE, 1 << 62);
    }

    #[test]
    fn m_tells_what_was_interrupted() {
        let base = |m| Generation::G5.base(Counter(m));
        assert_eq!(base(0), (Base::Eqs, 0));
        assert_eq!(base(1), (Base::Eqs, 1));
        assert_eq!(base(3), (Base::Eqs, 2));
        assert_eq!(base(2), (Base::Window, 1));
        assert_eq!(base(NON_IDLE), (Base::Kernel, 0));
        assert_eq!(base(NON_IDLE + 4), (Base::Kernel, 2));
    }

    #[test]
    fn names_find_their_generation() {
        for generation in Generation::ALL {
            assert_eq!(Generation::named(generation.layout().name), Some(generation));
        }
        assert_eq!(Generation::named("G9"), None);
    }
}
