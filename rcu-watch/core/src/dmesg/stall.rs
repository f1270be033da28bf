//! RCU stall lines: a stall is no break, but its `idle=S/N/M` may contradict itself.
//!
//! A stall's CPU is sampled after it hung for seconds, so the windows of a few instructions in which N and M
//! legally disagree are not what is seen. Before 4.16 ("idle=%03x/%llx/%d") M was another counter; only the
//! later form, whose M has a `0x`, is judged. S is printed cut to 12 or 16 bits and is not judged.

use crate::finding::RuleId;
use crate::units::CpuId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stalled<'log> {
    pub cpu: CpuId,
    pub words: &'log str,
    nesting: i64,
    nmi_nesting: u64,
}

/// M of ordinary code starts here; 1<<30 on 32-bit machines.
const ORDINARY: u64 = 1 << 30;

impl<'log> Stalled<'log> {
    /// `rcu: 3-...!: (4 ticks this GP) idle=f824/0/0x1 softirq=4614/4614 fqs=0`
    pub(super) fn new(text: &'log str) -> Option<Self> {
        let (head, tail) = text.split_once("idle=")?;
        let head = head.trim_start().strip_prefix("rcu:").unwrap_or(head).trim_start();
        let cpu = head.split_once('-')?.0.trim().parse().ok()?;
        let words = tail.strip_prefix("3D").unwrap_or(tail).split_whitespace().next()?;
        let mut parts = words.split('/');
        let (_, nesting, nmi_nesting) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            cpu: CpuId(cpu),
            words,
            nesting: nesting.parse().ok()?,
            nmi_nesting: u64::from_str_radix(nmi_nesting.strip_prefix("0x")?, 16).ok()?,
        })
    }

    /// What contradicts what; `itself` where the CPU reported its own stall, in its tick.
    pub(super) fn judge(&self, itself: bool) -> Option<(RuleId, &'static str)> {
        // Negative as the kernel keeps it: 64 bits, or 32 printed as such.
        let negative =
            self.nmi_nesting >= 1 << 63 || (self.nmi_nesting >= 1 << 31 && self.nmi_nesting < 1 << 32);
        if self.nesting < 0 || negative {
            Some((RuleId::NestingImbalance, "a nesting counter is below zero"))
        } else if itself && self.nmi_nesting == 0 {
            Some((RuleId::UncountedContext, "M is 0 in the interrupt that found the stall"))
        } else if self.nesting > 0 && self.nmi_nesting < ORDINARY {
            Some((RuleId::StateDisagrees, "N says that a task runs, M that RCU was left"))
        } else if self.nesting == 0 && self.nmi_nesting >= ORDINARY {
            Some((RuleId::StateDisagrees, "N says that the CPU is idle, M that it is not"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(idle: &str, itself: bool) -> Option<RuleId> {
        let text = format!("rcu: \t3-...!: (4 ticks this GP) idle={idle} softirq=1/1 fqs=0");
        Stalled::new(&text).and_then(|stalled| stalled.judge(itself)).map(|(rule, _)| rule)
    }

    #[test]
    fn a_stall_whose_words_agree_is_no_break() {
        for (idle, itself) in [
            ("9e14/1/0x4000000000000000", false),
            ("1cc/1/0x4000000000000002", true),
            ("3a04/1/0x40000002", true),
            ("f824/0/0x1", true),
            ("00c/0/0x0", false),
        ] {
            assert_eq!(judge(idle, itself), None, "{idle}");
        }
    }

    #[test]
    fn a_stall_whose_words_contradict_each_other_is_one() {
        assert_eq!(judge("f824/0/0x0", true), Some(RuleId::UncountedContext));
        assert_eq!(judge("f824/-1/0x1", false), Some(RuleId::NestingImbalance));
        assert_eq!(judge("f824/1/0xfffffffffffffffe", false), Some(RuleId::NestingImbalance));
        assert_eq!(judge("f824/1/0x1", false), Some(RuleId::StateDisagrees));
        assert_eq!(judge("f824/0/0x4000000000000000", false), Some(RuleId::StateDisagrees));
    }

    #[test]
    fn the_older_form_is_not_judged() {
        assert_eq!(judge("7db/2/0", true), None);
        assert_eq!(judge("7db/140000000000000/0", false), None);
    }
}
