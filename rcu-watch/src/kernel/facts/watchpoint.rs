//! Whether a watchpoint on S can be had on this kernel without harm.
//!
//! On x86-64 a watchpoint is a #DB behind the write, and the way into #DB tells RCU of itself: it writes S. So it must
//! have switched DR7 off by then. Before 5.8 it has not (arch/x86/kernel/traps.c:do_debug calls ist_enter, and that
//! rcu_nmi_enter, before anything touches DR7): the trap hits the watchpoint again, until the stack is used up.

use crate::kernel::facts::Facts;
use crate::kernel::read::support::Reason;

/// The way into #DB that switches DR7 off first. Its name came with 2bbc68f8373c ("x86/entry: Convert Debug exception to
/// IDTENTRY_DB"), and the order with 9f58fdde95c9 ("x86/db: Split out dr6/7 handling") of the same series, in 5.8.
const DEBUG_ENTRY: &str = "exc_debug";

/// Symbols that are looked for on its account.
pub(super) const SYMBOLS: &[&str] = &[DEBUG_ENTRY];

impl Facts {
    /// Why watchpoints are not offered on this kernel; `None` where they are.
    #[must_use]
    pub(crate) fn no_watchpoint(&self) -> Option<Reason> {
        let machine = &self.machine;
        if machine != "x86_64" {
            return Some(Reason::new(format!(
                "not offered: a watchpoint of {machine} traps before the write, and only x86-64's is used"
            )));
        }
        let has_entry = self.symbols.as_ref().is_ok_and(|symbols| symbols.has(DEBUG_ENTRY));
        (!has_entry)
            .then(|| Reason::new("not offered: this kernel's #DB entry would hit the watchpoint itself"))
    }
}
