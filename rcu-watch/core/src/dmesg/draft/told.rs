//! What a splat comes to once its last line was read: its rule, the function at fault, and what the kernel said.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;

use crate::dmesg::draft::Draft;
use crate::dmesg::frame::base;
use crate::dmesg::handler::handlers;
use crate::dmesg::headline::{Kind, Warn};
use crate::dmesg::machinery::culprit;
use crate::dmesg::rule::{Evidence, is_of_tracepoint, rule};
use crate::dmesg::splat::Splat;
use crate::dmesg::stall::Stall;
use crate::units::CpuId;

/// The function that stands for a stall in what this tool tells of one CPU.
const STALL: &str = "rcu_stall";

impl Draft {
    /// Absent where the complaint is of another class.
    pub(in crate::dmesg) fn into_splat(mut self) -> Option<Splat> {
        self.add_inner();
        let handlers = handlers(&self.stack);
        let seen = Evidence {
            handlers: &handlers,
            stack: &self.stack,
            in_idle: self.task.as_ref().is_none_or(|task| task.pid == 0),
            kernel: self.kernel.as_deref(),
            irqs_on: self.irqs_on,
            unwatched: self.unwatched,
        };
        let (rule, severity) = rule(&self.kind, &seen)?;
        let at_fault = culprit(&self.stack).map(str::to_owned);
        let mut cpu = self.cpu;
        let (function, said) = match self.kind {
            Kind::Cut => return None,
            Kind::NotOn(function) => (function, "RCU not on: ftrace skipped the handler".to_owned()),
            Kind::LeakedIrq(function) => (function, "left interrupts enabled in idle".to_owned()),
            Kind::Unwatched => {
                (at_fault.unwrap_or_else(unknown), "RCU not watching for tracepoint".to_owned())
            }
            Kind::Warn(warn) => {
                let said = format!("WARN in {}", warn.file);
                let is_callers = self.unwatched || is_of_tracepoint(&warn);
                (at_fault.filter(|_| is_callers).unwrap_or(warn.function), said)
            }
            Kind::Lockdep { message, .. } => {
                let place = || message.split_whitespace().next().map_or_else(unknown, str::to_owned);
                let function = at_fault.unwrap_or_else(place);
                let is_cut = message.is_empty();
                (function, if is_cut { "RCU was used where it does not watch".to_owned() } else { message })
            }
            Kind::Stall(stall) => {
                let (holder, function, said) = stalled(&stall);
                cpu = holder.or(cpu);
                (function, said)
            }
        };
        Some(Splat {
            rule,
            severity,
            said,
            kernel: self.kernel,
            function,
            handlers,
            ts: self.ts,
            cpu: cpu.or(self.prefix_cpu.map(CpuId)),
            task: self.task,
            stack: self.stack,
            line: self.line,
            consequence_of: None,
        })
    }

    /// Makes what warned the innermost frame, which x86 prints as a guess only, and ends a headline that was cut.
    fn add_inner(&mut self) {
        if matches!(self.kind, Kind::Lockdep { .. } | Kind::Stall(_)) {
            return;
        }
        if let Some(inner) = self.inner.take().filter(|inner| !inner.is_empty()) {
            if let Kind::Warn(warn) = &mut self.kind {
                complete(warn, base(&inner));
            }
            if self.stack.iter().all(|frame| base(frame) != base(&inner)) {
                self.stack.insert(0, inner);
            }
        }
        if let Kind::Warn(warn) = &mut self.kind
            && let Some(first) = culprit(&self.stack)
        {
            complete(warn, first);
        }
    }
}

fn complete(warn: &mut Warn, function: &str) {
    if !warn.is_whole && function.starts_with(&*warn.function) {
        function.clone_into(&mut warn.function);
        warn.is_whole = true;
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The CPU that holds the grace period, the function that stands for it, and why.
fn stalled(stall: &Stall) -> (Option<CpuId>, String, String) {
    if let Some((entry, _, why)) = stall.contradiction() {
        let words = entry.words.as_ref().map_or("", |words| &words.text);
        return (Some(entry.cpu), STALL.to_owned(), format!("{why}: stalled with idle={words}"));
    }
    let flavour = if stall.flavour.is_empty() { STALL } else { &stall.flavour };
    (stall.entries.first().map(|entry| entry.cpu), flavour.to_owned(), stall.held_by().1)
}
