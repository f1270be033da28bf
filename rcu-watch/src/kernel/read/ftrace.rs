//! Which functions have ftrace handlers now, from tracefs `enabled_functions`.
//!
//! ```text
//! arch_cpu_idle (2) R I D \ttramp: ... (call_direct_funcs+0x0/0x20) ->klp_ftrace_handler+0x0/0x1a0
//! \tdirect-->bpf_trampoline_6442494947+0x0/0x5c
//! ```
//! Number of handlers, flags, then callbacks, as far as this kernel names them: with two or more handlers on
//! a function, most kernels name only the one that calls them all in turn. The others are in the number alone.

use std::io::{self, Read};
use std::ops::ControlFlow;

use rcu_watch_core::probe::Reliance;

use crate::kernel::read::line::each_line;

/// One function and what ftrace says of its handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnabledFunction {
    pub function: String,
    pub module: Option<String>,
    pub handlers: u32,
    /// `I`: some handler may change where the function continues (livepatch).
    pub has_ipmodify: bool,
    /// `D`: a trampoline is called directly (BPF).
    pub has_direct: bool,
    /// Callbacks by name, those that only pass a call on left out.
    pub callbacks: Vec<String>,
    /// The trampoline of `D`.
    pub direct: Option<String>,
}

/// Names in a line that are not handlers but the way to them.
const PASS_ON: &[&str] = &[
    "ftrace_ops_list_func",
    "arch_ftrace_ops_list_func",
    "ftrace_ops_assist_func",
    "ftrace_stub",
    "ftrace_stub_graph",
    "ftrace_caller",
    "ftrace_regs_caller",
    "ftrace_graph_caller",
    "call_direct_funcs",
    "ERROR!",
];

impl EnabledFunction {
    /// The line of a function; `None` for the others.
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with(char::is_whitespace) {
            return None;
        }
        let (name, rest) = line.split_once(" (")?;
        let (count, rest) = rest.split_once(')')?;
        // `R I  \ttramp: ...`, or `R I   ->callback` where no trampoline is the function's own.
        let end = rest.find(['\t', '-']).unwrap_or(rest.len());
        let (flags, detail) = rest.split_at(end);
        let (function, module) = match name.split_once(" [") {
            Some((function, module)) => (function, Some(module.trim_end_matches(']').to_owned())),
            None => (name, None),
        };
        let mut found = Self {
            function: function.trim().to_owned(),
            module,
            handlers: count.parse().ok()?,
            has_ipmodify: flags.split_ascii_whitespace().any(|flag| flag == "I"),
            has_direct: flags.split_ascii_whitespace().any(|flag| flag == "D"),
            ..Self::default()
        };
        found.add_detail(detail);
        Some(found)
    }

    /// Takes the names out of `tramp: ADDRESS (f+0x0/0x10) ->g+0x0/0x20 subops: {ent:h+0x0/0x10}` and
    /// `direct-->t+0x0/0x30`.
    fn add_detail(&mut self, detail: &str) {
        let mut follows_arrow = false;
        for word in detail.split_ascii_whitespace() {
            let (marked, rest) = match word {
                "->" => (true, ""),
                _ if word.starts_with("->") => (true, &word[2..]),
                _ if word.starts_with("ent:") => (true, &word[4..]),
                _ if word.starts_with("{ent:") => (true, &word[5..]),
                // The return half of a pair whose entry was named.
                _ if word.contains("ret:") => (false, ""),
                _ if word.starts_with('(') => (true, &word[1..]),
                _ => (follows_arrow, word),
            };
            follows_arrow = word == "->";
            if let Some((_, target)) = word.split_once("-->") {
                self.direct = Some(symbol(target).to_owned());
            } else if marked && !rest.is_empty() {
                self.add_callback(symbol(rest));
            }
        }
    }

    fn add_callback(&mut self, name: &str) {
        let known = self.callbacks.iter().any(|known| known == name);
        if !known && !PASS_ON.contains(&name) && !name.starts_with("0x") && !name.is_empty() {
            self.callbacks.push(name.to_owned());
        }
    }
}

/// `function_trace_call+0x0/0x120` without the rest.
fn symbol(word: &str) -> &str {
    word.split(['+', ')', '}', '(']).next().unwrap_or(word)
}

/// Calls `function` with every function of the list.
///
/// # Errors
/// That of the read.
pub(crate) fn each_enabled(source: impl Read, mut function: impl FnMut(EnabledFunction)) -> io::Result<()> {
    let mut last: Option<EnabledFunction> = None;
    each_line(source, |line| {
        match EnabledFunction::parse(line) {
            Some(next) => {
                if let Some(done) = last.replace(next) {
                    function(done);
                }
            }
            None => {
                if let Some(last) = &mut last {
                    last.add_detail(line);
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(done) = last {
        function(done);
    }
    Ok(())
}

/// What is known of a callback that ftrace calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callback {
    /// Its functions are in sysfs.
    Livepatch,
    /// Its probes are in the kprobes list.
    Kprobe,
    /// A BPF trampoline.
    Trampoline,
    /// A handler of its own.
    Handler(Reliance),
}

/// Knows a callback by its name. What is not known is taken to rely on RCU.
#[must_use]
pub(crate) fn callback(name: &str) -> Callback {
    match name {
        "klp_ftrace_handler" => Callback::Livepatch,
        "kprobe_ftrace_handler" => Callback::Kprobe,
        _ if name.starts_with("bpf_trampoline_") => Callback::Trampoline,
        // kernel/trace/trace_stack.c: looks at rcu_is_watching() first. Added in: b00d607bb188 ("tracing: Have
        // stack tracer trace with RCU on").
        "stack_trace_call" => Callback::Handler(Reliance::GuardsItself),
        // kernel/trace/trace_event_perf.c: skipped by ftrace (FTRACE_OPS_FL_RCU), later by its own check.
        "perf_ftrace_function_call" => Callback::Handler(Reliance::GuardsItself),
        // These write to their ring buffer with preemption disabled and read nothing that RCU protects.
        "function_trace_call"
        | "function_stack_trace_call"
        | "function_args_trace_call"
        | "function_no_repeats_trace_call"
        | "function_stack_no_repeats_trace_call"
        | "function_profile_call"
        | "ftrace_pid_func"
        | "irqsoff_tracer_call"
        | "wakeup_tracer_call"
        | "prepare_ftrace_return"
        | "ftrace_graph_func"
        | "trace_graph_entry"
        | "trace_graph_entry_args"
        | "trace_graph_entry_watchdog"
        | "profile_graph_entry"
        | "irqsoff_graph_entry"
        | "wakeup_graph_entry" => Callback::Handler(Reliance::DoesNotRely),
        _ => Callback::Handler(Reliance::Relies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<EnabledFunction> {
        let mut found = Vec::new();
        each_enabled(text.as_bytes(), |function| found.push(function)).unwrap();
        found
    }

    /// Handlers that a line counts and does not name.
    fn unnamed(function: &EnabledFunction) -> usize {
        function.handlers as usize - function.callbacks.len() - usize::from(function.has_direct)
    }

    fn only(text: &str) -> EnabledFunction {
        let mut found = parse(text);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn the_function_tracer_is_named_on_5_10() {
        let line = "arch_cpu_idle (1)      \ttramp: 0xffffffffc000a000 (function_trace_call+0x0/0x120) ->function_trace_call+0x0/0x120\n";
        let found = only(line);
        assert_eq!((found.function.as_str(), found.handlers), ("arch_cpu_idle", 1));
        assert_eq!(found.callbacks, ["function_trace_call"]);
        assert_eq!(unnamed(&found), 0);
    }

    #[test]
    fn kprobes_on_ftrace_are_behind_the_assist_function_on_5_10() {
        let line = "cmdline_proc_show (1) R    \ttramp: 0xffffffffc000e000 (kprobe_ftrace_handler+0x0/0xf0) ->ftrace_ops_assist_func+0x0/0x110\n";
        assert_eq!(only(line).callbacks, ["kprobe_ftrace_handler"]);
    }

    #[test]
    fn the_graph_tracer_is_named_with_and_without_subops() {
        let old = "cmdline_proc_show (1)      \ttramp: ftrace_graph_caller+0x0/0xa0 (ftrace_stub_graph+0x0/0x10) ->prepare_ftrace_return+0x0/0x80\n";
        assert_eq!(only(old).callbacks, ["prepare_ftrace_return"]);
        let new = "cmdline_proc_show (1)           \ttramp: 0xffffffffc0601000 (ftrace_graph_func+0x0/0x70) ->ftrace_graph_func+0x0/0x70\tsubops: {ent:trace_graph_entry+0x0/0x10 ret:trace_graph_return+0x0/0x140}\n";
        assert_eq!(only(new).callbacks, ["ftrace_graph_func", "trace_graph_entry"]);
    }

    #[test]
    fn a_direct_trampoline_is_on_the_next_line_and_counts_as_a_handler() {
        let text = "\
arch_cpu_idle (2) R I D \ttramp: 0xffffffffc0a00000 (call_direct_funcs+0x0/0x20) ->call_direct_funcs+0x0/0x20
\tdirect-->bpf_trampoline_6442494947+0x0/0x5c
vfs_read (1)           \ttramp: 0xffffffffc023b000 (function_trace_call+0x0/0x110) ->function_trace_call+0x0/0x110
";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert!(found[0].has_ipmodify && found[0].has_direct);
        assert_eq!(found[0].direct.as_deref(), Some("bpf_trampoline_6442494947"));
        assert_eq!(unnamed(&found[0]), 1);
        assert_eq!(found[1].direct, None);
    }

    #[test]
    fn handlers_behind_the_list_function_stay_a_number() {
        let found = only("arch_cpu_idle (3)   I   ->arch_ftrace_ops_list_func+0x0/0x1d0\n");
        assert_eq!(found.callbacks, Vec::<String>::new());
        assert!(found.has_ipmodify);
        assert_eq!(unnamed(&found), 3);
    }

    #[test]
    fn functions_of_modules_are_named_with_their_module() {
        let found = only(
            "demo_entry [demo] (1) R I  \ttramp: 0xffffffffc0a00000 (klp_ftrace_handler+0x0/0x1a0) ->klp_ftrace_handler+0x0/0x1a0\n",
        );
        assert_eq!((found.function.as_str(), found.module.as_deref()), ("demo_entry", Some("demo")));
        assert_eq!(found.callbacks, ["klp_ftrace_handler"]);
    }

    #[test]
    fn an_unknown_callback_is_taken_to_rely_on_rcu() {
        assert_eq!(callback("somebodys_handler"), Callback::Handler(Reliance::Relies));
        assert_eq!(callback("stack_trace_call"), Callback::Handler(Reliance::GuardsItself));
        assert_eq!(callback("function_trace_call"), Callback::Handler(Reliance::DoesNotRely));
    }
}
