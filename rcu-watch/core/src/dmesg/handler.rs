//! Whose handlers a stack shows: they are known by the functions that call them.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use crate::dmesg::frame::base;
use crate::probe::{Handler, HandlerKind, Reliance};

use HandlerKind::{Bpf, FtraceOps, Kprobe, Livepatch};
use Reliance::{DoesNotRely, GuardsItself, Relies};

const GRAPH: &str = "function_graph";

/// Names of handlers and their trampolines as they appear on a stack, and what is told of them: several functions of one
/// tracer are one handler.
const HANDLERS: &[(&str, &str, HandlerKind, Reliance)] = &[
    ("klp_ftrace_handler", "klp_ftrace_handler", Livepatch, Relies),
    // kernel/trace/trace_functions.c, trace_functions_graph.c, trace_stack.c, fgraph.c
    ("function_trace_call", "function_trace_call", FtraceOps, DoesNotRely),
    ("function_stack_trace_call", "function_stack_trace_call", FtraceOps, DoesNotRely),
    ("stack_trace_call", "stack_trace_call", FtraceOps, GuardsItself),
    ("function_graph_enter*", GRAPH, FtraceOps, DoesNotRely),
    ("prepare_ftrace_return", GRAPH, FtraceOps, DoesNotRely),
    ("ftrace_graph_func", GRAPH, FtraceOps, DoesNotRely),
    ("trace_graph_entry", GRAPH, FtraceOps, DoesNotRely),
    ("trace_graph_return", GRAPH, FtraceOps, DoesNotRely),
    ("ftrace_return_to_handler", GRAPH, FtraceOps, DoesNotRely),
    ("__ftrace_return_to_handler*", GRAPH, FtraceOps, DoesNotRely),
    // kernel/trace/trace_event_perf.c
    ("perf_ftrace_function_call", "perf_ftrace_function_call", FtraceOps, Relies),
    // kernel/trace/fprobe.c, kernel/trace/rethook.c
    ("fprobe_handler", "fprobe_handler", FtraceOps, Relies),
    ("fprobe_kprobe_handler", "fprobe_handler", FtraceOps, Relies),
    ("fprobe_entry", "fprobe_entry", FtraceOps, Relies),
    ("fprobe_exit_handler", "fprobe_exit_handler", FtraceOps, Relies),
    ("fprobe_fgraph_entry", "fprobe_fgraph_entry", FtraceOps, Relies),
    ("fprobe_ftrace_entry", "fprobe_ftrace_entry", FtraceOps, Relies),
    ("fprobe_return", "fprobe_return", FtraceOps, Relies),
    // kernel/kprobes.c, kernel/trace/trace_kprobe.c, arch/*/kernel/kprobes
    ("kprobe_ftrace_handler", "kprobe_ftrace_handler", Kprobe, Relies),
    ("kprobe_dispatcher", "kprobe_dispatcher", Kprobe, Relies),
    ("kprobe_breakpoint_handler", "kprobe_breakpoint_handler", Kprobe, Relies),
    ("kprobe_brk_handler", "kprobe_brk_handler", Kprobe, Relies),
    ("kprobe_int3_handler", "kprobe_int3_handler", Kprobe, Relies),
    ("kprobe_handler", "kprobe_handler", Kprobe, Relies),
    ("kprobe_perf_func", "kprobe_dispatcher", Kprobe, Relies),
    ("kprobe_trace_func", "kprobe_dispatcher", Kprobe, Relies),
    ("call_break_hook", "call_break_hook", Kprobe, Relies),
    ("aggr_pre_handler", "aggr_pre_handler", Kprobe, Relies),
    ("opt_pre_handler", "opt_pre_handler", Kprobe, Relies),
    ("optimized_callback", "optimized_callback", Kprobe, Relies),
    ("pre_handler_kretprobe", "pre_handler_kretprobe", Kprobe, Relies),
    ("kretprobe_dispatcher", "kretprobe_dispatcher", Kprobe, Relies),
    ("kretprobe_perf_func", "kretprobe_dispatcher", Kprobe, Relies),
    ("kretprobe_trace_func", "kretprobe_dispatcher", Kprobe, Relies),
    ("kretprobe_rethook_handler", "kretprobe_dispatcher", Kprobe, Relies),
    ("trampoline_handler", "trampoline_handler", Kprobe, Relies),
    ("__kretprobe_trampoline_handler", "trampoline_handler", Kprobe, Relies),
    ("trampoline_probe_handler", "trampoline_handler", Kprobe, Relies),
    ("rethook_trampoline_handler", "rethook_trampoline_handler", Kprobe, Relies),
    ("arch_rethook_trampoline_callback", "rethook_trampoline_handler", Kprobe, Relies),
    // kernel/trace/bpf_trace.c, kernel/bpf/trampoline.c
    ("kprobe_multi_link_handler", "kprobe_multi_link_handler", Bpf, Relies),
    ("kprobe_multi_link_exit_handler", "kprobe_multi_link_handler", Bpf, Relies),
    ("kprobe_multi_link_prog_run", "kprobe_multi_link_handler", Bpf, Relies),
    ("trace_call_bpf", "trace_call_bpf", Bpf, Relies),
    ("perf_trace_run_bpf_submit", "perf_trace_run_bpf_submit", Bpf, Relies),
    ("bpf_trace_run*", "bpf_trace_run", Bpf, Relies),
    ("__bpf_prog_enter*", "bpf_trampoline", Bpf, Relies),
    ("__bpf_prog_exit*", "bpf_trampoline", Bpf, Relies),
    ("__bpf_tramp_enter", "bpf_trampoline", Bpf, Relies),
    ("__bpf_tramp_exit", "bpf_trampoline", Bpf, Relies),
];

type Row = (&'static str, &'static str, HandlerKind, Reliance);

fn known(name: &str) -> Option<&'static Row> {
    HANDLERS.iter().find(|(pattern, ..)| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

fn is_program(name: &str) -> bool {
    name.starts_with("bpf_prog_")
}

/// Whether a frame is a handler or what calls one.
pub(super) fn is_handler(name: &str) -> bool {
    is_program(name) || name.starts_with("bpf_trampoline_") || known(name).is_some()
}

/// Whose handlers a stack shows, each once.
pub(super) fn handlers(stack: &[String]) -> Vec<Handler> {
    let mut found: Vec<Handler> = Vec::new();
    let has_program = stack.iter().any(|frame| is_program(base(frame)));
    for frame in stack {
        let name = base(frame);
        let (told, kind, reliance) = match known(name) {
            // The program itself says more than what called it.
            Some((_, _, Bpf, _)) if has_program => continue,
            Some(&(_, told, kind, reliance)) => (told, kind, reliance),
            None if is_program(name) => (name, Bpf, Relies),
            None if name.starts_with("bpf_trampoline_") && !has_program => ("bpf_trampoline", Bpf, Relies),
            None => continue,
        };
        if found.iter().any(|handler| handler.name == told) {
            continue;
        }
        // `bpf_prog_<tag>_<name>` (kernel/bpf/core.c:bpf_get_prog_name).
        let ours = is_program(name) && name.contains("_rcuw_");
        found.push(Handler {
            kind,
            name: told.to_owned(),
            event: None,
            program: None,
            reliance,
            ours,
            owner: None,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stack: &str) -> Vec<String> {
        let stack: Vec<String> = stack.split(' ').map(str::to_owned).collect();
        handlers(&stack).into_iter().map(|handler| handler.name).collect()
    }

    #[test]
    fn the_functions_of_one_tracer_are_one_handler() {
        assert_eq!(
            names("trace_graph_return+0x1/0x2 ftrace_return_to_handler+0x1/0x2 do_idle"),
            ["function_graph"]
        );
        assert_eq!(
            names("kretprobe_perf_func kretprobe_dispatcher trampoline_handler"),
            ["kretprobe_dispatcher", "trampoline_handler"]
        );
    }

    #[test]
    fn a_program_says_more_than_its_trampoline() {
        assert_eq!(names("bpf_prog_1_x+0x1/0x2 bpf_trampoline_2+0x1/0x2 f"), ["bpf_prog_1_x"]);
        assert_eq!(names("__bpf_prog_enter_recur bpf_trampoline_2 f"), ["bpf_trampoline"]);
        assert!(names("bpf_ringbuf_reserve f do_idle").is_empty());
    }
}
