//! The build options that matter, told by what they leave behind in the kernel: a distribution's config file
//! need not be there, and need not be this kernel's.

use rcu_watch_core::report::check::{Check, CheckGroup, CheckState};

use super::check;
use crate::kernel::facts::{Facts, FtraceValidation};

/// What an option leaves in kallsyms, and what it is for.
const OPTIONS: [(&str, &str, &str); 9] = [
    ("CONFIG_BPF_SYSCALL", "bpf_map_put", "programs and maps"),
    ("CONFIG_BPF_EVENTS", "bpf_get_raw_tracepoint", "programs on kprobes, tracepoints and perf events"),
    ("CONFIG_KALLSYMS_ALL", "__per_cpu_offset", "where per-CPU data lies"),
    ("CONFIG_KPROBES", "register_kprobe", "functions where fentry cannot be"),
    ("CONFIG_KPROBES_ON_FTRACE", "kprobe_ftrace_handler", "kprobes in the context of their function"),
    ("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "register_ftrace_direct", "fentry"),
    ("CONFIG_FUNCTION_TRACER", "function_trace_call", "all functions at once, for audit"),
    ("CONFIG_HAVE_HW_BREAKPOINT", "register_wide_hw_breakpoint", "idle and irq entry, with --watchpoints"),
    ("CONFIG_LIVEPATCH", "klp_enable_patch", "livepatches, whose handlers are watched"),
];

/// Symbols that are looked for on their account.
pub(in crate::kernel) const SYMBOLS: [&str; 9] = {
    let mut symbols = [""; 9];
    let mut index = 0;
    while index < symbols.len() {
        symbols[index] = OPTIONS[index].1;
        index += 1;
    }
    symbols
};

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![option("CONFIG_DEBUG_INFO_BTF", facts.btf.is_ok(), "where members lie")];
    match &facts.symbols {
        Ok(symbols) => {
            checks.extend(
                OPTIONS.iter().map(|(name, symbol, purpose)| option(name, symbols.has(symbol), purpose)),
            );
        }
        Err(_) => checks.push(check(
            CheckGroup::Configuration,
            "other options",
            CheckState::Unknown,
            "they are told by their symbols, and kallsyms cannot be read",
        )),
    }
    checks.push(match &facts.ftrace_validates_rcu {
        FtraceValidation::Yes => check(
            CheckGroup::Configuration,
            "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING",
            CheckState::Ok,
            "set: ftrace itself refuses handlers where RCU is off",
        ),
        FtraceValidation::No => check(
            CheckGroup::Configuration,
            "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING",
            CheckState::Ok,
            "not set: ftrace runs handlers where RCU is off",
        ),
        FtraceValidation::Unknown(reason) => super::lacking(
            CheckGroup::Configuration,
            "CONFIG_FTRACE_VALIDATE_RCU_IS_WATCHING",
            CheckState::Unknown,
            reason,
        ),
    });
    let cpus = &facts.nohz_full;
    let list = cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let detail =
        if cpus.is_empty() { "none: RCU is off in idle only".to_owned() } else { format!("cpu {list}") };
    checks.push(check(CheckGroup::Configuration, "nohz_full", CheckState::Ok, detail));
    checks
}

/// Whether a run can do without it is for the mechanisms to say.
fn option(name: &str, is_set: bool, purpose: &str) -> Check {
    if is_set {
        check(CheckGroup::Configuration, name, CheckState::Ok, purpose)
    } else {
        Check {
            remedy: Some("the stock kernels of the distributions have it".to_owned()),
            ..check(CheckGroup::Configuration, name, CheckState::Lacking, format!("not set: {purpose}"))
        }
    }
}
