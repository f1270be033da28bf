//! BPF programs by their links, and by the perf events that processes hold them on; and who holds them.

use std::collections::{HashMap, HashSet};

use rcu_watch_core::probe::{Owner, Reliance};
use rcu_watch_core::report::HandlerReport;
use rcu_watch_core::report::handlers::{HandlerState, HookKind, Place};

use super::kprobe::{self, Lines, Target};
use super::place::Functions;
use super::source::SWITCHED_OFF;
use super::source::Sources;
use crate::kernel::read::program::{BpfObjects, KERNEL_BTF, OUR_PREFIX};
use crate::sys::bpf::bpf_prog_type;
use crate::sys::bpf::link::{Link, LinkedTo, Trampoline};

/// A trampoline is named after its function's id among the types of the kernel, or of a module: kernel/bpf/trampoline.c,
/// include/linux/bpf.h:bpf_trampoline_compute_key. Older kernels have the id alone.
fn trampoline(object: u32, target: u32) -> String {
    format!("bpf_trampoline_{}", u64::from(object) << 32 | 0x8000_0000 | u64::from(target))
}

/// Puts all programs down; the kprobes among them take their lines. Returns how many sit on user space.
pub(super) fn count<'a>(
    sources: &'a Sources,
    functions: &Functions<'a>,
    lines: &mut Lines<'a>,
    handlers: &mut Vec<HandlerReport>,
) -> u64 {
    let Ok(objects) = &sources.programs else { return 0 };
    let direct: HashMap<&str, (&str, Option<&str>)> = sources
        .enabled
        .iter()
        .flatten()
        .filter_map(|f| Some((f.direct.as_deref()?, (f.function.as_str(), f.module.as_deref()))))
        .collect();
    let programs = Programs { sources, objects, functions, direct };
    let first = handlers.len();
    let mut uprobes = 0;
    for link in objects.links.iter().chain(programs.held_only()) {
        match &link.on {
            LinkedTo::Uprobe => uprobes += 1,
            LinkedTo::Other => {}
            _ => programs.add(link, lines, handlers),
        }
    }
    for program in objects.programs.iter().filter(|p| p.is(bpf_prog_type::BPF_PROG_TYPE_STRUCT_OPS)) {
        let mut handler = programs.handler(HookKind::StructOps, 0, program.id);
        handler.place = Place::Elsewhere;
        handlers.push(handler);
    }
    for handler in &mut handlers[first..] {
        let is_carried = matches!(
            handler.kind,
            HookKind::Fentry
                | HookKind::Fexit
                | HookKind::FmodRet
                | HookKind::Lsm
                | HookKind::KprobeMulti
                | HookKind::KretprobeMulti
        );
        if is_carried && sources.switches.ftrace_calls_nobody() {
            handler.stop(HandlerState::Dead, SWITCHED_OFF);
        }
    }
    uprobes
}

struct Programs<'a, 'f> {
    sources: &'a Sources,
    objects: &'a BpfObjects,
    functions: &'f Functions<'a>,
    /// Functions by the names of their trampolines.
    direct: HashMap<&'a str, (&'a str, Option<&'a str>)>,
}

impl<'a> Programs<'a, '_> {
    /// Perf events with a program that no link tells the place of: a link of the same program does not say where it is,
    /// or there is none. An event on each CPU is one handler.
    fn held_only(&self) -> impl Iterator<Item = &'a Link> {
        let told: HashSet<u32> =
            self.objects.links.iter().filter(|link| is_told(link)).map(|link| link.program).collect();
        let mut seen = HashSet::new();
        self.sources.holders.on_events.iter().filter(move |held| {
            let is_another_cpus = match &held.on {
                LinkedTo::Tracepoint(name) => !seen.insert((held.program, name)),
                _ => false,
            };
            !told.contains(&held.program) && !is_another_cpus
        })
    }

    fn handler(&self, kind: HookKind, link: u32, id: u32) -> HandlerReport {
        let mut handler = HandlerReport::new(kind, self.objects.name(id), Reliance::Relies);
        handler.ours = handler.name.starts_with(OUR_PREFIX);
        handler.program = Some(id);
        handler.link = (link != 0).then_some(link);
        handler.owner = self.owner(link, id);
        if let Some(program) = self.objects.program(id) {
            handler.runs = (program.runs > 0).then_some(program.runs);
            handler.misses = program.misses;
        }
        handler
    }

    fn owner(&self, link: u32, program: u32) -> Option<Owner> {
        let Sources { holders, pins, .. } = self.sources;
        let held = holders.of_program(link, program);
        let path = |path: &std::path::PathBuf| Some(path.display().to_string());
        let pinned = || pins.links.get(&link).or_else(|| pins.programs.get(&program)).map(path);
        held.or_else(|| pinned().map(|path| Owner::Pinned { path })).or_else(|| {
            // It lives, so something holds it; only a pin is not seen in /proc.
            (holders.incomplete.is_none() && link != 0).then_some(Owner::Pinned { path: None })
        })
    }

    fn add(&self, link: &'a Link, lines: &mut Lines<'a>, handlers: &mut Vec<HandlerReport>) {
        let new = |kind| self.handler(kind, link.id, link.program);
        match &link.on {
            LinkedTo::Function { target, object, at } => {
                let is = |of| self.objects.program(link.program).is_some_and(|program| program.is(of));
                let kind = match at {
                    _ if is(bpf_prog_type::BPF_PROG_TYPE_LSM) => HookKind::Lsm,
                    _ if is(bpf_prog_type::BPF_PROG_TYPE_EXT) => HookKind::Extension,
                    Trampoline::Exit => HookKind::Fexit,
                    Trampoline::ModifyReturn => HookKind::FmodRet,
                    Trampoline::Entry => HookKind::Fentry,
                };
                let mut handler = new(kind);
                handler.place = if kind == HookKind::Fexit { Place::Return } else { Place::Entry };
                self.put_on_trampoline(*target, *object, &mut handler);
                handlers.push(handler);
            }
            LinkedTo::Kprobe { symbol, offset, address, is_return } => {
                if symbol.is_empty() && *address == 0 {
                    // Told by the event that its process holds, where it may be asked.
                    let is_held = |held: &Link| held.program == link.program;
                    if !self.sources.holders.on_events.iter().any(is_held) {
                        let mut handler = new(HookKind::Kprobe);
                        handler.place = Place::Elsewhere;
                        handler.because = Some("this kernel does not tell where it is".to_owned());
                        handlers.push(handler);
                    }
                    return;
                }
                let kind = if *is_return { HookKind::Kretprobe } else { HookKind::Kprobe };
                let mut handler = new(kind);
                handler.misses = add(handler.misses, link.missed);
                let target = self.target(symbol, *offset, *address, *is_return);
                match lines.take(&target).or_else(|| lines.peek(&target)) {
                    Some(line) => kprobe::at(line, self.sources, self.functions, &mut handler),
                    None => kprobe::put(&target, None, self.functions, &mut handler),
                }
                handlers.push(handler);
            }
            LinkedTo::Kprobes { addresses, is_return } => {
                let kind = if *is_return { HookKind::KretprobeMulti } else { HookKind::KprobeMulti };
                let mut first = new(kind);
                first.misses = add(first.misses, link.missed);
                first.place = if *is_return { Place::Return } else { Place::Entry };
                if self.sources.fprobe_looks_first {
                    first.reliance = Reliance::SkippedByKernel;
                }
                for &address in addresses {
                    let mut handler = first.clone();
                    if let Some((function, _)) = self.functions.at(address) {
                        function.put(&mut handler);
                    } else {
                        handler.function = Some(format!("{address:#x}"));
                    }
                    handlers.push(handler);
                }
                if addresses.is_empty() {
                    first.place = Place::Elsewhere;
                    first.because = Some("this kernel does not tell its functions".to_owned());
                    handlers.push(first);
                }
            }
            LinkedTo::RawTracepoint(name) => handlers.push(on_tracepoint(new(HookKind::RawTracepoint), name)),
            LinkedTo::Tracepoint(name) => handlers.push(on_tracepoint(new(HookKind::Tracepoint), name)),
            LinkedTo::Uprobe | LinkedTo::Other => {}
        }
    }

    /// By the types of the kernel image, else by the trampoline that `enabled_functions` shows on the function.
    fn put_on_trampoline(&self, target: u32, object: u32, handler: &mut HandlerReport) {
        let of_kernel = (object == KERNEL_BTF && target != 0).then(|| self.objects.functions.get(&target));
        let name = trampoline(object, target);
        if let Some(function) = of_kernel.flatten() {
            self.functions.only(function, None).put(handler);
        } else if let Some(&(function, module)) = self.direct.get(name.as_str()) {
            self.functions.only(function, module).put(handler);
        } else {
            handler.place = Place::Elsewhere;
            if target == 0 {
                handler.because = Some("this kernel does not tell where it is".to_owned());
            }
        }
    }

    fn target(&self, symbol: &'a str, offset: u64, address: u64, is_return: bool) -> Target<'a> {
        let by_name = Target { function: symbol, offset, start: 0, is_return };
        if address == 0 {
            return kprobe::resolved(by_name, None, self.functions);
        }
        match self.functions.at(address) {
            Some((function, offset)) => {
                Target { function: function.name, offset, start: function.address.unwrap_or(0), is_return }
            }
            None => by_name,
        }
    }
}

/// Whether a link says where its program is.
fn is_told(link: &Link) -> bool {
    !matches!(&link.on, LinkedTo::Kprobe { symbol, address: 0, .. } if symbol.is_empty())
}

fn on_tracepoint(mut handler: HandlerReport, name: &str) -> HandlerReport {
    handler.function = Some(name.to_owned());
    handler.place = Place::Elsewhere;
    handler
}

fn add(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
    }
}
