//! Handlers that ftrace calls: tracers by their instances, fprobes, and callbacks of anybody.
//!
//! `enabled_functions` counts the handlers of a function and names them only where there is one. What the other
//! lists show on that function is taken off the number; the rest is listed as `unnamed`.

use std::collections::{HashMap, HashSet};

use rcu_watch_core::probe::{Owner, Reliance};
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerState, HookKind, Place};

use super::kprobe::owned;
use super::place::Functions;
use super::source::{SWITCHED_OFF, Sources};
use crate::kernel::read::event::EventKind;
use crate::kernel::read::fprobe;
use crate::kernel::read::ftrace::{Callback, EnabledFunction, callback};
use crate::kernel::read::tracer::{SetUpBy, Tracer};

/// Name of a handler that the kernel counts and nothing names.
const UNNAMED: &str = "unnamed";

/// What the function_graph tracer shows as, by its ftrace handler or by those of its own sub-handlers.
const GRAPH: &[&str] = &[
    "ftrace_graph_func",
    "prepare_ftrace_return",
    "trace_graph_entry",
    "trace_graph_entry_args",
    "trace_graph_entry_watchdog",
];

pub(super) fn count(sources: &Sources, functions: &Functions<'_>, handlers: &mut Vec<HandlerReport>) {
    put_untold(sources, functions, handlers);
    let known = Known::of(sources, handlers);
    let first = handlers.len();
    for tracer in &sources.tracers {
        tracers(tracer, sources, functions, handlers);
    }
    fprobe_events(sources, functions, handlers);
    for function in sources.enabled.iter().flatten() {
        known.rest_of(function, sources, functions, handlers);
    }
    if sources.switches.ftrace_calls_nobody() {
        for handler in &mut handlers[first..] {
            handler.stop(HandlerState::Dead, SWITCHED_OFF);
        }
    }
}

fn reliance_of(name: &str, looks_first: bool) -> Reliance {
    match callback(name) {
        _ if looks_first && name.starts_with(fprobe::PREFIX) => Reliance::SkippedByKernel,
        Callback::Handler(reliance) => reliance,
        _ => Reliance::Relies,
    }
}

fn is_on_trampoline(handler: &HandlerReport) -> bool {
    matches!(handler.kind, HookKind::Fentry | HookKind::Fexit | HookKind::FmodRet | HookKind::Lsm)
}

fn has_trampoline(function: &EnabledFunction) -> bool {
    function.has_direct || function.callbacks.iter().any(|name| callback(name) == Callback::Trampoline)
}

/// Before 5.13 no link tells the function of its trampoline: where there is one such program and one function whose
/// trampoline nobody else explains, they belong together.
fn put_untold<'a>(sources: &'a Sources, functions: &Functions<'a>, handlers: &mut [HandlerReport]) {
    let told: HashSet<String> =
        handlers.iter().filter(|it| is_on_trampoline(it)).filter_map(|it| it.function.clone()).collect();
    let mut untold = handlers.iter_mut().filter(|it| is_on_trampoline(it) && it.function.is_none());
    let enabled = sources.enabled.iter().flatten();
    let mut free = enabled.filter(|it| has_trampoline(it) && !told.contains(&it.function));
    if let (Some(handler), None, Some(function), None) =
        (untold.next(), untold.next(), free.next(), free.next())
    {
        functions.only(&function.function, function.module.as_deref()).put(handler);
        handler.place = Place::Entry;
        handler.because = None;
    }
}

/// A handler for each function that a tracer is restricted to, or one for all functions.
fn tracers(tracer: &Tracer, sources: &Sources, functions: &Functions<'_>, handlers: &mut Vec<HandlerReport>) {
    let reliance = reliance_of(tracer.callback, false);
    let mut handler = HandlerReport::new(HookKind::FtraceOps, tracer.callback.to_owned(), reliance);
    handler.owner = Some(match &tracer.set_up_by {
        SetUpBy::Instance(name) => sources.of_instance(name.as_ref()),
        SetUpBy::Sysctl(name) => Owner::Setting { name: (*name).to_owned() },
    });
    if let SetUpBy::Instance(Some(name)) = &tracer.set_up_by {
        handler.instance = Some(name.clone());
    }
    if !tracer.records {
        handler.because = Some("keeps nothing: tracing_on of its instance is 0".to_owned());
    }
    let Some(names) = &tracer.functions else {
        handlers.push(handler);
        return;
    };
    for name in names {
        let mut handler = handler.clone();
        functions.only(name, functions.module_of(name)).put(&mut handler);
        handlers.push(handler);
    }
}

fn fprobe_events(sources: &Sources, functions: &Functions<'_>, handlers: &mut Vec<HandlerReport>) {
    let fprobes = |kind| matches!(kind, EventKind::Fprobe | EventKind::FprobeReturn);
    for event in sources.events.iter().flatten().filter(|event| fprobes(event.kind)) {
        let reliance = reliance_of(fprobe::PREFIX, sources.fprobe_looks_first);
        let mut handler = HandlerReport::new(HookKind::Fprobe, event.label(), reliance);
        let module = event.module.as_deref().or_else(|| functions.module_of(&event.symbol));
        functions.only(&event.symbol, module).put(&mut handler);
        handler.place = if event.is_return() { Place::Return } else { Place::Entry };
        owned(event, sources, &mut handler);
        handlers.push(handler);
    }
}

/// What the other lists show on functions that ftrace has handlers on, by the function's name.
struct Known<'a> {
    livepatched: HashSet<String>,
    /// Live kprobes that ftrace carries: one handler of ftrace's, however many probes.
    kprobed: HashSet<&'a str>,
    fprobes: HashMap<String, u32>,
    /// Functions that a BPF program is known to be on.
    trampolined: HashSet<String>,
    /// There are programs on trampolines of which the kernel does not tell the function.
    has_untold_trampolines: bool,
    /// Tracers by function, and those that are on every function.
    tracers: HashMap<&'a str, Vec<&'a Tracer>>,
    everywhere: Vec<&'a Tracer>,
}

impl<'a> Known<'a> {
    fn of(sources: &'a Sources, handlers: &[HandlerReport]) -> Self {
        let kprobes = sources.kprobes.iter().flatten();
        let mut fprobes = HashMap::new();
        for event in sources.events.iter().flatten() {
            if matches!(event.kind, EventKind::Fprobe | EventKind::FprobeReturn) {
                *fprobes.entry(event.symbol.clone()).or_default() += 1;
            }
        }
        let mut tracers: HashMap<&str, Vec<&Tracer>> = HashMap::new();
        for tracer in &sources.tracers {
            for function in tracer.functions.iter().flatten() {
                tracers.entry(function).or_default().push(tracer);
            }
        }
        for handler in handlers {
            if matches!(handler.kind, HookKind::KprobeMulti | HookKind::KretprobeMulti)
                && let Some(function) = &handler.function
            {
                *fprobes.entry(function.clone()).or_default() += 1;
            }
        }
        let trampolines = handlers.iter().filter(|handler| is_on_trampoline(handler));
        let is_livepatch = |handler: &&HandlerReport| handler.kind == HookKind::Livepatch;
        Self {
            livepatched: handlers.iter().filter(is_livepatch).filter_map(|h| h.function.clone()).collect(),
            kprobed: kprobes
                .filter(|kprobe| kprobe.is_on_ftrace && kprobe.is_live())
                .map(|kprobe| kprobe.function.as_str())
                .collect(),
            has_untold_trampolines: trampolines.clone().any(|handler| handler.function.is_none()),
            trampolined: trampolines.filter_map(|handler| handler.function.clone()).collect(),
            fprobes,
            tracers,
            everywhere: sources.tracers.iter().filter(|tracer| tracer.functions.is_none()).collect(),
        }
    }

    /// Handlers of a function that no other list explains.
    fn rest_of(
        &self,
        function: &EnabledFunction,
        sources: &Sources,
        functions: &Functions<'_>,
        handlers: &mut Vec<HandlerReport>,
    ) {
        let name = function.function.as_str();
        let callbacks = &function.callbacks;
        let says = |what| callbacks.iter().any(|name| callback(name) == what);
        let mut tracers = self.everywhere.clone();
        tracers.extend(self.tracers.get(name).into_iter().flatten());
        let mut fprobes = self.fprobes.get(name).copied().unwrap_or(0);
        let mut counted = function.handlers;
        let add = |callback: &str, handlers: &mut Vec<HandlerReport>| {
            let is_fprobe = callback.starts_with(fprobe::PREFIX);
            let kind = if is_fprobe { HookKind::Fprobe } else { HookKind::FtraceOps };
            let reliance = reliance_of(callback, sources.fprobe_looks_first);
            let mut handler = HandlerReport::new(kind, callback.to_owned(), reliance);
            functions.only(name, function.module.as_deref()).put(&mut handler);
            let module = functions.module_of(callback).map(str::to_owned);
            handler.owner = module.map(|name| Owner::Module { name });
            handlers.push(handler);
        };
        for what in [Callback::Livepatch, Callback::Kprobe] {
            counted -= u32::from(says(what)).min(counted);
        }
        let has_trampoline = has_trampoline(function);
        counted -= u32::from(has_trampoline).min(counted);
        if has_trampoline && !self.trampolined.contains(name) && !self.has_untold_trampolines {
            let trampoline = function.direct.as_deref().unwrap_or(UNNAMED).to_owned();
            let mut handler = HandlerReport::new(HookKind::Fentry, trampoline, Reliance::Relies);
            functions.only(name, function.module.as_deref()).put(&mut handler);
            handlers.push(handler);
        }
        let has_subops = callbacks.iter().any(|name| name.ends_with("_entry"));
        for name in callbacks {
            let Callback::Handler(_) = callback(name) else { continue };
            // With sub-handlers of the graph tracer, they are the handlers.
            if has_subops && name == "ftrace_graph_func" {
                continue;
            }
            counted = counted.saturating_sub(1);
            let is_graph = GRAPH.contains(&name.as_str());
            let is_its =
                |tracer: &&Tracer| tracer.callback == name || (is_graph && GRAPH.contains(&tracer.callback));
            if let Some(index) = tracers.iter().position(is_its) {
                tracers.swap_remove(index);
            } else if name.starts_with(fprobe::PREFIX) && fprobes > 0 {
                fprobes -= 1;
            } else {
                add(name, handlers);
            }
        }
        let also = u32::from(!says(Callback::Livepatch) && self.livepatched.contains(name))
            + u32::from(!says(Callback::Kprobe) && self.kprobed.contains(name))
            + u32::try_from(tracers.len()).unwrap_or(u32::MAX)
            + fprobes;
        for _ in 0..counted.saturating_sub(also) {
            add(UNNAMED, handlers);
        }
    }
}
