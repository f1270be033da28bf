//! Where RCU's own functions and the code that nobody can hook lie in this kernel's text, from kallsyms.
//!
//! kallsyms has no sizes: a function ends where the next one starts. Compilers cut functions into parts
//! (`rcu_nmi_exit.part.0`), which count as the function.

use rcu_watch_core::cause::Writers;
use rcu_watch_core::model::kernel::{TextMap, TextRange};
use rcu_watch_core::units::Address;

use crate::kernel::read::symbol::{FoundSymbols, SymbolTable};

/// Bounds of text that cannot be hooked, as the linker script names them.
const UNINSTRUMENTABLE: &[&str] = &["__noinstr_text", "__cpuidle_text", "__entry_text"];

/// Symbols by which a run without watchpoints knows the text, and the way out of an EQS.
pub(crate) const SYMBOLS: &[&str] = &[
    "__noinstr_text_start",
    "__noinstr_text_end",
    "__cpuidle_text_start",
    "__cpuidle_text_end",
    "__entry_text_start",
    "__entry_text_end",
    "__tracepoint_rcu_dyntick",
    "__tracepoint_rcu_watching",
    "rcu_cleanup_after_idle",
];

/// Text that cannot be hooked.
#[must_use]
pub(crate) fn uninstrumentable(symbols: &FoundSymbols) -> Vec<TextRange> {
    let bound = |section: &str, end: &str| symbols.address(&format!("{section}_{end}")).map(Address);
    UNINSTRUMENTABLE
        .iter()
        .filter_map(|name| Some(TextRange { start: bound(name, "start")?, end: bound(name, "end")? }))
        .collect()
}

/// Whether the way out of an EQS calls what can be hooked before N and M count: a tracepoint of RCU_TRACE, or
/// the function of FAST_NO_HZ, whose call is compiled out where it does nothing.
#[must_use]
pub(crate) fn eqs_exit_calls_out(symbols: &FoundSymbols) -> bool {
    ["__tracepoint_rcu_dyntick", "__tracepoint_rcu_watching", "rcu_cleanup_after_idle"]
        .iter()
        .any(|name| symbols.has(name))
}

/// Where these functions of the kernel image lie, and their parts, as far as `symbols` has them.
#[must_use]
pub(crate) fn ranges_of(functions: &[&str], symbols: &FoundSymbols) -> Vec<TextRange> {
    let mut ranges: Vec<TextRange> = symbols
        .symbols
        .iter()
        .filter(|(name, symbol)| functions.contains(&base(name)) && symbol.module.is_none())
        .filter_map(|(_, symbol)| {
            Some(TextRange { start: Address(symbol.address), end: Address(symbol.end?) })
        })
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined = Vec::new();
    ranges.into_iter().for_each(|range| add(&mut joined, range));
    joined
}

/// A function's name, without what the compiler adds for a part of it.
#[must_use]
pub(crate) fn base(function: &str) -> &str {
    function.split('.').next().unwrap_or(function)
}

/// Functions of RCU and context tracking in the kernel image: their names are enough. Modules may be called
/// what they like, and are not asked.
const WRITERS: &[&str] =
    &["rcu_", "__rcu_", "rcutree_", "ct_", "__ct_", "context_tracking_", "dyntick_save_progress_counter"];

const IRQ: &[&str] = &[
    "rcu_nmi_enter",
    "rcu_nmi_exit",
    "rcu_nmi_exit_common",
    "rcu_irq_enter",
    "rcu_irq_exit",
    "rcu_irq_exit_preempt",
    "rcu_irq_enter_irqson",
    "rcu_irq_exit_irqson",
    "ct_nmi_enter",
    "ct_nmi_exit",
    "ct_irq_enter",
    "ct_irq_exit",
    "ct_irq_enter_irqson",
    "ct_irq_exit_irqson",
];

/// The leaf that writes S (`ct_kernel_exit_state`, up to 5.19 `rcu_dynticks_eqs_enter`) is called by these; where
/// that call is a function's last, the return address is its caller's, which is why idle's are here.
const EQS: &[&str] = &[
    "rcu_eqs_enter",
    "rcu_eqs_exit",
    "rcu_idle_enter",
    "rcu_idle_exit",
    "rcu_user_enter",
    "rcu_user_exit",
    "ct_kernel_enter",
    "ct_kernel_exit",
    "ct_idle_enter",
    "ct_idle_exit",
    "__ct_user_enter",
    "__ct_user_exit",
    "default_idle_call",
    "cpuidle_enter_state",
    "cpuidle_enter_s2idle",
    "enter_s2idle_proper",
    "acpi_idle_enter_bm",
    "cpu_idle_poll",
];

/// Those that leave RCU watching. Up to 5.14 the grace period's thread reads S by adding nothing to it
/// (kernel/rcu/tree.c:rcu_dynticks_snap), wherever that was inlined.
const MOMENTARY: &[&str] = &[
    "rcu_momentary_eqs",
    "rcu_momentary_dyntick_idle",
    "rcu_dynticks_momentary_idle",
    "rcu_dynticks_snap",
    "dyntick_save_progress_counter",
    "rcu_implicit_dynticks_qs",
];

/// What the rules and the causes of transitions need to know of RCU's own text.
#[must_use]
pub(crate) fn find(table: &SymbolTable) -> (TextMap, Writers) {
    let mut map = TextMap::default();
    let mut writers = Writers::default();
    let mut bounds = vec![(None, None); UNINSTRUMENTABLE.len()];
    for (function, range) in table.functions() {
        let base = base(function);
        for (index, section) in UNINSTRUMENTABLE.iter().enumerate() {
            match base.strip_prefix(section) {
                Some("_start") => bounds[index].0 = Some(range.start),
                Some("_end") => bounds[index].1 = Some(range.start),
                _ => {}
            }
        }
        let is = |names: &[&str]| names.contains(&base);
        if WRITERS.iter().any(|prefix| base.starts_with(prefix)) {
            add(&mut map.writers, range);
        }
        if is(IRQ) {
            add(&mut writers.irq, range);
        } else if is(EQS) {
            add(&mut writers.eqs, range);
        } else if is(MOMENTARY) {
            add(&mut writers.momentary, range);
        }
    }
    let whole =
        |(start, end): (Option<Address>, Option<Address>)| Some(TextRange { start: start?, end: end? });
    map.uninstrumentable = bounds.into_iter().filter_map(whole).collect();
    (map, writers)
}

/// Ranges come in order of address: one that touches the last, or is another name of it, becomes part of it.
fn add(ranges: &mut Vec<TextRange>, range: TextRange) {
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff81000000 T _stext
ffffffff81001000 t acpi_idle_enter
ffffffff81001100 T something_else
ffffffff81002000 T __noinstr_text_start
ffffffff81002000 t ct_kernel_exit_state
ffffffff81002000 t ct_kernel_enter_state
ffffffff81002040 t ct_kernel_enter.constprop.0
ffffffff81002100 T ct_nmi_enter
ffffffff81002200 T memcpy
ffffffff81002300 T __noinstr_text_end
ffffffff81003000 T rcu_momentary_eqs
ffffffff81003040 t dyntick_save_progress_counter
ffffffff81003080 T other
ffffffffc0001000 t ct_nmi_enter\t[imitator]
ffffffffc0001040 t rcu_mine\t[imitator]
ffffffffc0001080 t last\t[imitator]
";

    fn holds(ranges: &[TextRange], address: u64) -> bool {
        ranges.iter().any(|range| range.contains(Address(address)))
    }

    #[test]
    fn rcus_own_functions_are_found_with_their_parts_and_ends() {
        let (map, writers) = find(&SymbolTable::read(KALLSYMS.as_bytes()).unwrap());
        assert_eq!(map.writers.len(), 2, "{:?}", map.writers);
        assert!(holds(&map.writers, 0xffff_ffff_8100_2000) && holds(&map.writers, 0xffff_ffff_8100_21ff));
        assert!(!holds(&map.writers, 0xffff_ffff_8100_2200));
        assert!(holds(&writers.irq, 0xffff_ffff_8100_2100));
        assert!(holds(&writers.eqs, 0xffff_ffff_8100_2050));
        assert!(holds(&writers.momentary, 0xffff_ffff_8100_3000));
        // It writes to read.
        assert!(
            holds(&map.writers, 0xffff_ffff_8100_3050) && holds(&writers.momentary, 0xffff_ffff_8100_3050)
        );
    }

    #[test]
    fn a_module_that_borrows_a_name_is_no_part_of_rcu() {
        let (map, writers) = find(&SymbolTable::read(KALLSYMS.as_bytes()).unwrap());
        assert!(!holds(&map.writers, 0xffff_ffff_c000_1040));
        assert!(!holds(&writers.irq, 0xffff_ffff_c000_1000));
    }

    #[test]
    fn sections_and_victims_have_bounds() {
        let (map, _) = find(&SymbolTable::read(KALLSYMS.as_bytes()).unwrap());
        assert_eq!(map.uninstrumentable.len(), 1);
        assert!(holds(&map.uninstrumentable, 0xffff_ffff_8100_2200));
        assert!(!holds(&map.uninstrumentable, 0xffff_ffff_8100_2300));
        let symbols =
            FoundSymbols::read(KALLSYMS.as_bytes(), |name| base(name) == "acpi_idle_enter").unwrap();
        let victims = ranges_of(&["acpi_idle_enter"], &symbols);
        assert_eq!(victims.len(), 1);
        assert!(holds(&victims, 0xffff_ffff_8100_10ff) && !holds(&victims, 0xffff_ffff_8100_1100));
    }
}
