//! Kprobes and kretprobes: the kernel's list says where each is and whether it is on, and not whose. Probe events say
//! whose, and where it was meant to be.

use std::collections::{HashMap, VecDeque};

use rcu_watch_core::probe::{Owner, Reliance};
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerState, HookKind, Place};

use super::place::{Function, Functions};
use super::source::{SWITCHED_OFF, Sources};
use super::table::Table;
use crate::kernel::read::event::{EventKind, ProbeEvent};
use crate::kernel::read::kprobe::Kprobe;

/// Where somebody wants a kprobe to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// Empty where only the address is known.
    pub function: &'a str,
    pub offset: u64,
    /// Where the function starts; 0 where that is not known.
    pub start: u64,
    pub is_return: bool,
}

/// The lines of the list that nobody has taken for his own yet.
pub(super) struct Lines<'a> {
    lines: &'a [Kprobe],
    taken: Vec<bool>,
    by_start: HashMap<(u64, u64, bool), VecDeque<usize>>,
    by_name: HashMap<(&'a str, u64, bool), VecDeque<usize>>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(lines: &'a [Kprobe]) -> Self {
        let mut by_start: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut by_name: HashMap<_, VecDeque<usize>> = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            // A kprobe at the start of a function with endbr64 is moved behind it, to the ftrace site.
            let entry = (line.is_on_ftrace && line.offset != 0).then_some(0);
            for offset in entry.into_iter().chain([line.offset]) {
                if line.address != 0 {
                    by_start.entry((start(line), offset, line.is_return)).or_default().push_back(index);
                }
                let function = line.function.as_str();
                by_name.entry((function, offset, line.is_return)).or_default().push_back(index);
            }
        }
        Self { lines, taken: vec![false; lines.len()], by_start, by_name }
    }

    /// Takes one line that is at `target`, and nobody else's.
    pub(super) fn take(&mut self, target: &Target<'a>) -> Option<&'a Kprobe> {
        let Target { function, offset, start, is_return } = *target;
        let has_addresses = start != 0 && !self.by_start.is_empty();
        let candidates = if has_addresses {
            self.by_start.get_mut(&(start, offset, is_return))?
        } else {
            self.by_name.get_mut(&(function, offset, is_return))?
        };
        while let Some(index) = candidates.pop_front() {
            if !std::mem::replace(&mut self.taken[index], true) {
                return Some(&self.lines[index]);
            }
        }
        None
    }

    /// A line at `target`, whosever it is: a program on a probe event shares the event's.
    pub(super) fn peek(&self, target: &Target<'_>) -> Option<&'a Kprobe> {
        let is_it = |line: &&Kprobe| {
            let at_start = target.start == 0 || line.address == 0 || start(line) == target.start;
            let offset = if line.is_on_ftrace { 0 } else { line.offset };
            at_start
                && line.function == target.function
                && line.is_return == target.is_return
                && offset == target.offset
        };
        self.lines.iter().find(is_it)
    }

    fn rest(&self) -> impl Iterator<Item = &'a Kprobe> {
        self.lines.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(line, _)| line)
    }
}

const fn start(line: &Kprobe) -> u64 {
    line.address.wrapping_sub(line.offset)
}

pub(super) fn count<'a>(
    sources: &'a Sources,
    functions: &Functions<'a>,
    lines: &mut Lines<'a>,
    handlers: &mut Vec<HandlerReport>,
) {
    for event in sources.events.iter().flatten() {
        let kind = match event.kind {
            EventKind::Kprobe => HookKind::Kprobe,
            EventKind::Kretprobe => HookKind::Kretprobe,
            EventKind::Fprobe | EventKind::FprobeReturn => continue,
        };
        let target = target_of(event, functions);
        let line = target.as_ref().and_then(|target| lines.take(target));
        // By address alone it cannot be told which line is its; the line is listed by itself.
        if target.is_none() && sources.kprobes.is_ok() {
            continue;
        }
        let mut handler = HandlerReport::new(kind, event.label(), Reliance::Relies);
        owned(event, sources, &mut handler);
        match (line, target) {
            (Some(line), _) => {
                at(line, sources, functions, &mut handler);
                // It is on, and not in tracefs: by perf.
                if line.is_live() && event.on_in.is_empty() {
                    let perf = sources.holders.of_perf_event(&event.group, &event.name);
                    handler.owner = perf.or(handler.owner);
                }
            }
            (None, Some(target)) => {
                put(&target, event.module.as_deref(), functions, &mut handler);
                missing(event, sources, &mut handler);
            }
            (None, None) => missing(event, sources, &mut handler),
        }
        handlers.push(handler);
    }
}

/// Lines that nobody else has taken: of modules, of perf, or of whom no list tells.
pub(super) fn rest<'a>(
    lines: &Lines<'a>,
    sources: &Sources,
    functions: &Functions<'a>,
    handlers: &mut Vec<HandlerReport>,
) {
    let mut table = Table::new(sources.registered.as_deref().unwrap_or_default(), functions);
    for line in lines.rest() {
        let kind = if line.is_return { HookKind::Kretprobe } else { HookKind::Kprobe };
        let name = format!("{}+{:#x}", line.function, line.offset);
        let mut handler = HandlerReport::new(kind, name, Reliance::Relies);
        at(line, sources, functions, &mut handler);
        table.tell(line, functions, &mut handler);
        handlers.push(handler);
    }
}

/// Puts a handler where its line says that it is, and says whether it can run.
pub(super) fn at<'a>(
    line: &'a Kprobe,
    sources: &Sources,
    functions: &Functions<'a>,
    handler: &mut HandlerReport,
) {
    let module = line.module.as_deref();
    if line.address == 0 {
        functions.only(&line.function, module).put(handler);
    } else {
        functions.starting_at(&line.function, module, start(line)).put(handler);
    }
    let offset = if line.is_on_ftrace { 0 } else { line.offset };
    handler.place = place(offset, line.is_return);
    handler.offset = (handler.place == Place::Offset).then_some(offset);
    handler.reliance =
        if line.is_on_ftrace || line.is_optimized { Reliance::Relies } else { Reliance::EntryCounted };
    if line.is_gone {
        handler.stop(HandlerState::Off, "[GONE]: the module of its function was unloaded");
    } else if line.is_disabled {
        handler.stop(HandlerState::Off, "[DISABLED]: switched off by its owner, or never on");
    } else if let Some(why) = sources.switches.kprobes_are_off() {
        handler.stop(HandlerState::Dead, why.why);
    } else if sources.switches.ftrace_calls_nobody() && line.is_on_ftrace {
        handler.stop(HandlerState::Dead, SWITCHED_OFF);
    }
}

fn place(offset: u64, is_return: bool) -> Place {
    match (is_return, offset) {
        (true, _) => Place::Return,
        (false, 0) => Place::Entry,
        (false, _) => Place::Offset,
    }
}

/// What tracefs knows of an event beside its place.
pub(super) fn owned(event: &ProbeEvent, sources: &Sources, handler: &mut HandlerReport) {
    handler.owner = Some(match event.on_in.first() {
        Some(instance) => sources.of_instance(instance.as_ref()),
        None => Owner::Instance { name: None },
    });
    if let Some((runs, misses)) = event.counts {
        (handler.runs, handler.misses) = (Some(runs), Some(misses));
    }
}

/// Why an event has no kprobe in the list.
fn missing(event: &ProbeEvent, sources: &Sources, handler: &mut HandlerReport) {
    match &event.module {
        Some(module) if !sources.modules.contains(module) => {
            handler.stop(HandlerState::Off, format!("waits for module {module}"));
        }
        _ if sources.kprobes.is_ok() => {
            handler.stop(HandlerState::Off, "the kernel's list of kprobes does not have it");
        }
        _ => {}
    }
}

/// Where an event is to be; `None` where it was set up by address.
fn target_of<'a>(event: &'a ProbeEvent, functions: &Functions<'a>) -> Option<Target<'a>> {
    if event.symbol.is_empty() {
        return None;
    }
    let (function, offset, is_return) = (event.symbol.as_str(), event.offset, event.is_return());
    let by_name = Target { function, offset, start: 0, is_return };
    Some(resolved(by_name, event.module.as_deref(), functions))
}

/// `target` with the start of its function, as far as that can be told.
pub(super) fn resolved<'a>(
    by_name: Target<'a>,
    module: Option<&str>,
    functions: &Functions<'a>,
) -> Target<'a> {
    let module = module.or_else(|| functions.module_of(by_name.function));
    // perf counts from `_text`, so the function is the one that this address lies in.
    let found = functions.address(by_name.function, module, by_name.offset).and_then(|at| functions.at(at));
    match found {
        Some((function, offset)) if by_name.offset != 0 => {
            Target { function: function.name, offset, start: function.address.unwrap_or(0), ..by_name }
        }
        Some((function, _)) => Target { start: function.address.unwrap_or(0), ..by_name },
        None => by_name,
    }
}

/// Puts a handler where it was meant to be.
pub(super) fn put<'a>(
    target: &Target<'a>,
    module: Option<&'a str>,
    functions: &Functions<'a>,
    handler: &mut HandlerReport,
) {
    function(target, module, functions).put(handler);
    handler.place = place(target.offset, target.is_return);
    handler.offset = (handler.place == Place::Offset).then_some(target.offset);
}

fn function<'a>(target: &Target<'a>, module: Option<&'a str>, functions: &Functions<'a>) -> Function<'a> {
    let module = module.or_else(|| functions.module_of(target.function));
    match target.start {
        0 => functions.only(target.function, module),
        start => functions.starting_at(target.function, module, start),
    }
}
