//! Why S was written: what a watchpoint's snapshot says of the transition that it saw.
//!
//! The direction is in M: the watchpoint's own #DB came out of an EQS (M=1) where the write turned RCU off, and
//! out of the middle of a transition (M=2) where it turned it on. Who it was is in the writer: the one leaf that
//! writes S serves idle, user mode and irqs alike, so its return address is looked at as well.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::model::generation::{Base, Context, Generation};
use super::model::kernel::TextRange;
use super::snapshot::Snapshot;
use super::units::Address;

/// What wrote S.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The CPU went idle.
    IdleEnter,
    /// The CPU came back from idle.
    IdleExit,
    /// Of an irq, or of an exception that is counted like one (#BP).
    IrqEnter,
    /// The way back from one into the EQS that it had interrupted.
    IrqExit,
    /// User mode or a guest; where RCU keeps watching this CPU in user mode, a change of context only.
    UserEnter,
    /// Back into the kernel from there.
    UserExit,
    /// RCU was told of a quiescent state, and watches on.
    Momentary,
    /// Neither the writer nor M tells.
    Unknown,
}

impl Cause {
    /// Every cause.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Which of the kernel's functions write S for what. Empty where it is not known: nothing is guessed then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// Those that count irqs and exceptions.
    pub irq: Vec<TextRange>,
    /// Those that enter and leave idle and user mode, and what calls their last part directly.
    pub eqs: Vec<TextRange>,
    /// Those that tell RCU of a quiescent state while it watches on.
    pub momentary: Vec<TextRange>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Irq,
    Eqs,
    Momentary,
}

impl Writers {
    fn of(&self, address: Address) -> Option<Writer> {
        let holds = |ranges: &[TextRange]| ranges.iter().any(|range| range.contains(address));
        if holds(&self.irq) {
            Some(Writer::Irq)
        } else if holds(&self.eqs) {
            Some(Writer::Eqs)
        } else {
            holds(&self.momentary).then_some(Writer::Momentary)
        }
    }

    /// The function of the instruction itself, or where that serves several, of its caller.
    fn of_snapshot(&self, snapshot: &Snapshot<'_>) -> Option<Writer> {
        let by_ip = snapshot.regs.and_then(|regs| self.of(regs.ip));
        // A call that does not return may be a function's last instruction.
        by_ip.or_else(|| self.of(Address(snapshot.caller?.0.wrapping_sub(1))))
    }
}

/// Why S was written.
#[must_use]
pub fn cause(generation: Generation, writers: &Writers, snapshot: &Snapshot<'_>) -> Cause {
    let Some(writer) = writers.of_snapshot(snapshot) else { return Cause::Unknown };
    let in_user = match generation.context(snapshot.rcu.state) {
        Some(Context::Idle) => false,
        Some(Context::Kernel) | None => !snapshot.task.is_idle(),
        Some(_) => true,
    };
    let (base, _) = generation.base(snapshot.rcu.nmi_nesting);
    match (base, snapshot.rcu.nmi_nesting.0, writer) {
        (Base::Eqs, 1, Writer::Irq) => Cause::IrqExit,
        (Base::Eqs, 1, Writer::Eqs) if in_user => Cause::UserEnter,
        (Base::Eqs, 1, Writer::Eqs) => Cause::IdleEnter,
        (Base::Window, 2, Writer::Irq) => Cause::IrqEnter,
        (Base::Window, 2, Writer::Eqs) if in_user => Cause::UserExit,
        (Base::Window, 2, Writer::Eqs) => Cause::IdleExit,
        (_, _, Writer::Momentary) => Cause::Momentary,
        // A CPU that is not nohz_full keeps track of user mode, and RCU watches it there.
        (Base::Kernel, _, Writer::Eqs) if generation.context(snapshot.rcu.state) == Some(Context::Kernel) => {
            Cause::UserExit
        }
        (Base::Kernel, _, Writer::Eqs) if in_user => Cause::UserEnter,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generation::NON_IDLE;
    use crate::snapshot::{RcuState, Regs, Task};
    use crate::units::{Counter, StateWord};

    const LEAF: u64 = 0x1000;
    const CT_NMI: u64 = 0x2000;
    const CT_KERNEL: u64 = 0x3000;
    const MOMENTARY: u64 = 0x4000;

    fn writers() -> Writers {
        let range = |start| vec![TextRange { start: Address(start), end: Address(start + 0x100) }];
        Writers { irq: range(CT_NMI), eqs: range(CT_KERNEL), momentary: range(MOMENTARY) }
    }

    fn written(state: u32, m: i64, ip: u64, caller: u64, pid: u32) -> Cause {
        let snapshot = Snapshot {
            rcu: RcuState { state: StateWord(state), nmi_nesting: Counter(m), ..RcuState::default() },
            regs: Some(Regs { ip: Address(ip), ..Regs::default() }),
            caller: Some(Address(caller)),
            task: Task { pid, ..Task::default() },
            ..Snapshot::default()
        };
        cause(Generation::G5, &writers(), &snapshot)
    }

    #[test]
    fn direction_by_m_and_kind_by_the_caller_of_the_leaf() {
        assert_eq!(written(5, 1, LEAF, CT_KERNEL + 5, 0), Cause::IdleEnter);
        assert_eq!(written(5, 1, LEAF, CT_NMI + 5, 0), Cause::IrqExit);
        assert_eq!(written(4, 2, LEAF, CT_KERNEL + 5, 0), Cause::IdleExit);
        assert_eq!(written(5, 2, LEAF, CT_NMI + 5, 0), Cause::IrqEnter);
        assert_eq!(written(6, 1, LEAF, CT_KERNEL + 5, 9), Cause::UserEnter);
        assert_eq!(written(4, 2, LEAF, CT_KERNEL + 5, 9), Cause::UserExit);
    }

    #[test]
    fn a_return_address_behind_a_functions_end_is_still_its() {
        assert_eq!(written(5, 1, LEAF, CT_NMI + 0x100, 0), Cause::IrqExit);
    }

    #[test]
    fn where_the_leaf_is_inlined_the_instruction_itself_tells() {
        assert_eq!(written(5, 1, CT_NMI + 9, 0xdead, 0), Cause::IrqExit);
    }

    #[test]
    fn writes_that_leave_rcu_watching_are_no_transitions_out_of_it() {
        assert_eq!(written(4, NON_IDLE + 2, MOMENTARY + 1, 0, 9), Cause::Momentary);
        assert_eq!(written(6, NON_IDLE + 2, CT_KERNEL + 1, 0, 9), Cause::UserEnter);
        assert_eq!(written(4, NON_IDLE + 2, CT_KERNEL + 1, 0, 9), Cause::UserExit);
    }

    #[test]
    fn a_writer_that_is_not_known_gives_no_cause() {
        assert_eq!(written(5, 1, LEAF, 0xdead, 0), Cause::Unknown);
        assert_eq!(written(5, 3, LEAF, CT_NMI + 5, 0), Cause::Unknown);
    }
}
