//! What `handlers` says: every handler of a kernel, and what became of them since an earlier list.
//!
//! A `handler` for each handler and function, one `handler_totals` after them, and with `--diff` a `handler_change` for
//! each difference from an older list ([`super::handler_change`]). A list that could not be read is a blind spot of the header, by the name that
//! [`HandlerList`] has.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::probe::{Owner, Reliance};
use crate::units::Address;

/// A handler at one place of this kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandlerReport {
    /// By what mechanism it gets there.
    pub kind: HookKind,
    /// The livepatch, the BPF program, the probe event as `group/event`, the ftrace callback; the place where the
    /// kernel tells nothing else of it.
    pub name: String,
    /// The function or tracepoint; absent where it is on every function that ftrace can hook, or on none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The module that the function is in; absent for the kernel image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Where the function starts; absent where addresses are hidden, and where several functions have this name and
    /// nothing tells which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Which of the functions of this name it is, from 1 in the order of kallsyms; absent where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sympos: Option<u32>,
    /// Where in the function it sits.
    pub place: Place,
    /// How far into the function, for `offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Id of the BPF program, as `bpftool prog` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<u32>,
    /// Id of the BPF link, as `bpftool link` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<u32>,
    /// Who holds it; absent where nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The tracefs instance that a tracer is on in; absent for the top one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Whether it needs RCU to watch.
    pub reliance: Reliance,
    /// How often it ran, where the kernel counts that: a BPF program over all of its places, while
    /// `kernel.bpf_stats_enabled` is set; a probe event where it is not perf that has it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// Runs that the kernel skipped, where it counts them: a BPF program over all of its places, by its recursion
    /// guard, and what the kprobe or fprobe of its link skipped besides; a probe event by its own; any other kprobe by
    /// what the kernel's memory has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misses: Option<u64>,
    /// Whether it can run.
    pub state: HandlerState,
    /// Why it cannot run, or what else is to be known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// One of our own programs.
    pub ours: bool,
}

impl HandlerReport {
    /// An entry handler of somebody else's that is alive, and of which nothing else is known.
    #[must_use]
    pub const fn new(kind: HookKind, name: String, reliance: Reliance) -> Self {
        Self {
            kind,
            name,
            function: None,
            module: None,
            address: None,
            sympos: None,
            place: Place::Entry,
            offset: None,
            program: None,
            link: None,
            owner: None,
            instance: None,
            reliance,
            runs: None,
            misses: None,
            state: HandlerState::Alive,
            because: None,
            ours: false,
        }
    }

    /// Takes down why it does not run; what was said first stays.
    pub fn stop(&mut self, state: HandlerState, because: impl Into<String>) {
        if self.state == HandlerState::Alive {
            self.state = state;
            self.because = Some(because.into());
        }
    }
}

/// By what mechanism a handler gets to its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HookKind {
    /// A livepatch, which runs another body instead of the function's.
    Livepatch,
    /// A kprobe: of a probe event, of perf, of a BPF program, or of a module.
    Kprobe,
    /// A kretprobe, of any of those.
    Kretprobe,
    /// A BPF program on many functions at once.
    KprobeMulti,
    /// The same, on their returns.
    KretprobeMulti,
    /// A BPF program at a function's entry.
    Fentry,
    /// A BPF program at a function's end.
    Fexit,
    /// A BPF program that may change what a function returns.
    FmodRet,
    /// A BPF program on a hook of the security modules.
    Lsm,
    /// A BPF program as a member of a struct of functions.
    StructOps,
    /// A BPF program that replaces or extends another one.
    Extension,
    /// An fprobe that is no BPF program's.
    Fprobe,
    /// An ftrace callback that is none of the other kinds: a tracer's, perf's, a module's.
    FtraceOps,
    /// A BPF program on a tracepoint, with its raw arguments.
    RawTracepoint,
    /// A BPF program on a tracepoint, by a perf event.
    Tracepoint,
}

impl HookKind {
    /// As it is written in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The lists without which nobody can say that a handler of this kind is not there, or which it is. What ftrace has
    /// on a function is named by all the others.
    #[must_use]
    pub const fn told_by(self) -> &'static [HandlerList] {
        use HandlerList::{Addresses, Functions, Kprobes, Livepatches, ProbeEvents, Programs};
        match self {
            Self::Livepatch => &[Livepatches],
            Self::Kprobe | Self::Kretprobe => &[Kprobes, ProbeEvents, Programs, Addresses],
            Self::FtraceOps | Self::Fprobe => {
                &[Functions, ProbeEvents, Programs, Kprobes, Livepatches, Addresses]
            }
            Self::Fentry | Self::Fexit | Self::FmodRet | Self::Lsm => &[Programs, Functions, Addresses],
            Self::KprobeMulti | Self::KretprobeMulti => &[Programs, Addresses],
            Self::StructOps | Self::Extension | Self::RawTracepoint | Self::Tracepoint => &[Programs],
        }
    }
}

/// Where in its function a handler sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At its start.
    Entry,
    /// In its body; `offset` says where.
    Offset,
    /// At its end.
    Return,
    /// It has no place of its own in a function: tracepoints, members of structs.
    Elsewhere,
}

/// Whether a handler can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HandlerState {
    /// Nothing shows that it cannot run.
    Alive,
    /// Its owner switched it off or never on, or its function is not there yet.
    Off,
    /// It is switched on and cannot run.
    Dead,
}

/// A list of the kernel that handlers are found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
pub enum HandlerList {
    /// /sys/kernel/livepatch.
    #[strum(serialize = "livepatches")]
    Livepatches,
    /// debugfs `kprobes/list`.
    #[strum(serialize = "kprobes")]
    Kprobes,
    /// tracefs `kprobe_events` and `dynamic_events`.
    #[strum(serialize = "probe events")]
    ProbeEvents,
    /// tracefs `enabled_functions`.
    #[strum(serialize = "ftrace handlers")]
    Functions,
    /// BPF programs and links.
    #[strum(serialize = "BPF programs")]
    Programs,
    /// /proc/PID/fd of every process.
    #[strum(serialize = "owners")]
    Owners,
    /// /proc/kallsyms.
    #[strum(serialize = "addresses")]
    Addresses,
}

impl HandlerList {
    /// What a blind spot of the header calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The list that a blind spot of the header is about.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::VARIANTS.iter().copied().find(|list| list.name() == name)
    }
}

/// After the last handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HandlerTotals {
    /// Handlers that were listed, ours left out.
    pub handlers: u64,
    /// Of these, what is switched off.
    pub off: u64,
    /// Of these, what is switched on and cannot run.
    pub dead: u64,
    /// Of these, what nobody could be named for.
    pub ownerless: u64,
    /// By mechanism; only those that there are.
    pub kinds: Vec<KindTotal>,
    /// Probes on user space, which are counted only: events and BPF links.
    pub uprobes: u64,
    /// The patterns of `--function`; absent where all handlers are listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

/// Handlers of one mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KindTotal {
    /// The mechanism.
    pub kind: HookKind,
    /// How many handlers it carries.
    pub count: u64,
}

impl HandlerTotals {
    /// Counts `handlers`, ours left out.
    #[must_use]
    pub fn of(handlers: &[HandlerReport], uprobes: u64) -> Self {
        let mut totals = Self { uprobes, ..Self::default() };
        for handler in handlers.iter().filter(|handler| !handler.ours) {
            totals.handlers += 1;
            totals.off += u64::from(handler.state == HandlerState::Off);
            totals.dead += u64::from(handler.state == HandlerState::Dead);
            totals.ownerless += u64::from(handler.owner.is_none());
            match totals.kinds.iter_mut().find(|total| total.kind == handler.kind) {
                Some(total) => total.count += 1,
                None => totals.kinds.push(KindTotal { kind: handler.kind, count: 1 }),
            }
        }
        totals.kinds.sort_by_key(|total| total.kind);
        totals
    }
}
