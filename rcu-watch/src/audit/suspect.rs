//! From calls by address to suspects by name: the tracer's own calls dropped, aliases and callers named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interval::Call;
use crate::kernel::points;
use crate::kernel::symbol::SymbolTable;

/// A function that ran between an EQS's entry and its exit, by the trace alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspect {
    pub function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Calls within such intervals. 0: taken from the list of known candidates, and not traced.
    pub traced: u64,
    /// Who called it most often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

impl Suspect {
    /// A function that was not traced.
    #[must_use]
    pub(crate) fn untraced(function: &str) -> Self {
        Self { function: function.to_owned(), module: None, traced: 0, caller: None }
    }

    #[must_use]
    pub(crate) fn is_rcu_internal(&self) -> bool {
        points::is_rcu_internal(&self.function)
    }
}

/// How the tracer's and the ring buffer's own functions begin. They, and what they call, run because of the audit.
const TRACER_PREFIXES: &[&str] = &[
    "ring_buffer_",
    "__ring_buffer_",
    "rb_",
    "__rb_",
    "trace_buffer_",
    "trace_event_",
    "trace_clock_",
    "trace_function",
    "__trace_",
    "tracing_",
    "function_trace_call",
    "function_stack_trace_call",
    "ftrace_",
    "arch_ftrace_",
];

fn is_tracer(function: &str) -> bool {
    TRACER_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

/// Suspects by name, most calls first.
#[must_use]
pub(crate) fn name(calls: impl IntoIterator<Item = (Call, u64)>, symbols: &SymbolTable) -> Vec<Suspect> {
    let mut found: BTreeMap<(String, Option<String>), BTreeMap<String, u64>> = BTreeMap::new();
    for (Call { ip, parent_ip }, count) in calls {
        let Some(function) = symbols.resolve(ip) else { continue };
        let caller = symbols.resolve(parent_ip).map_or("", |caller| caller.name);
        if is_tracer(caller) {
            continue;
        }
        let key = (function.name.to_owned(), function.module.map(str::to_owned));
        *found.entry(key).or_default().entry(caller.to_owned()).or_default() += count;
    }
    let mut suspects: Vec<Suspect> = found
        .into_iter()
        .map(|((function, module), callers)| {
            let caller = callers.iter().max_by_key(|(_, count)| **count).map(|(name, _)| name.clone());
            let caller = caller.filter(|name| !name.is_empty());
            Suspect { function, module, traced: callers.values().sum(), caller }
        })
        .collect();
    suspects.sort_by(|a, b| b.traced.cmp(&a.traced).then_with(|| a.function.cmp(&b.function)));
    suspects
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff81000000 T default_idle_call
ffffffff81001000 T arch_cpu_idle
ffffffff81002000 t ring_buffer_unlock_commit
ffffffff81003000 T ktime_get
ffffffff81004000 T rcu_idle_exit
ffffffffc0000000 t my_idle\t[my_driver]
";

    #[test]
    fn suspects_have_names_callers_and_modules_and_the_tracers_own_are_dropped() {
        let symbols = SymbolTable::read(KALLSYMS.as_bytes()).unwrap();
        let call = |ip, parent_ip| Call { ip, parent_ip };
        let calls = [
            (call(0xffff_ffff_8100_1004, 0xffff_ffff_8100_0012), 3),
            (call(0xffff_ffff_8100_1004, 0xffff_ffff_8100_4012), 1),
            (call(0xffff_ffff_8100_3000, 0xffff_ffff_8100_2040), 9),
            (call(0xffff_ffff_8100_4000, 0xffff_ffff_8100_0050), 2),
            (call(0xffff_ffff_c000_0000, 0), 1),
            (call(0x10, 0), 5),
        ];
        let suspects = name(calls, &symbols);
        let seen: Vec<_> = suspects
            .iter()
            .map(|s| (s.function.as_str(), s.traced, s.caller.as_deref(), s.module.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                ("arch_cpu_idle", 4, Some("default_idle_call"), None),
                ("rcu_idle_exit", 2, Some("default_idle_call"), None),
                ("my_idle", 1, None, Some("my_driver")),
            ]
        );
        assert!(suspects[1].is_rcu_internal() && !suspects[0].is_rcu_internal());
    }
}
