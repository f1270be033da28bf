//! What this kernel lets a program do, found by trying.
//!
//! Each answer is yes, or no with what stands in the way. Nothing is attached: whether a trampoline or a
//! kprobe can be placed at all follows from the symbols and files that the code for it leaves.

use std::io;

use rcu_watch_core::report::header::Transport;

use crate::kernel::read::btf::FoundTypes;
use crate::kernel::read::mount::Tree;
use crate::kernel::read::privilege::{Capability, Lockdown, Privileges};
use crate::kernel::read::support::{Reason, Support};
use crate::kernel::read::symbol::FoundSymbols;
use crate::sys::bpf::{bpf_prog_type, trial};
use crate::sys::limit;

/// A function that every kernel with BPF and its test runs has, for trial loads of tracing programs.
pub(crate) const TRIAL_TARGET: &str = "bpf_fentry_test1";

/// Symbols that tell what the kernel was built with.
pub(crate) const SYMBOLS: &[&str] = &[
    "__fentry__",
    "_text",
    "bpf_tramp_ftrace_ops_func",
    "ftrace_caller",
    "klp_enable_patch",
    "kprobe_ftrace_handler",
    "register_ftrace_direct",
    "register_ftrace_function",
    "register_kprobe",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Loading programs at all.
    pub bpf: Support,
    pub ring_buffer: Support,
    pub perf_event_array: Support,
    pub raw_tracepoint: Support,
    pub fentry: Support,
    pub kprobe: Support,
    /// Kprobes on function entries use ftrace and run in the function's own context.
    pub kprobe_on_ftrace: Support,
    pub perf_event: Support,
}

/// How records are to leave the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportChoice {
    /// The ring buffer where the kernel has one.
    #[default]
    Auto,
    Ring,
    Perf,
}

impl Features {
    /// Everything there: what tests start from.
    #[cfg(test)]
    pub(crate) const fn all() -> Self {
        Self {
            bpf: Support::Yes,
            ring_buffer: Support::Yes,
            perf_event_array: Support::Yes,
            raw_tracepoint: Support::Yes,
            fentry: Support::Yes,
            kprobe: Support::Yes,
            kprobe_on_ftrace: Support::Yes,
            perf_event: Support::Yes,
        }
    }

    /// How records leave this kernel: by the ring buffer where it has one, unless something else is asked for.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn transport(&self, choice: TransportChoice) -> Result<Transport, Reason> {
        let way = |transport, support: &Support| match support {
            Support::Yes => Ok(transport),
            Support::No(reason) => Err(reason.clone()),
        };
        let ring = || way(Transport::RingBuffer, &self.ring_buffer);
        let perf = || way(Transport::PerfEventArray, &self.perf_event_array);
        match choice {
            TransportChoice::Ring => ring(),
            TransportChoice::Perf => perf(),
            TransportChoice::Auto => ring().or_else(|reason| perf().map_err(|_| reason)),
        }
    }

    /// Asks the running kernel.
    #[must_use]
    pub fn probe(
        tree: &Tree,
        privileges: &Privileges,
        symbols: &FoundSymbols,
        btf: &Result<FoundTypes, Reason>,
    ) -> Self {
        limit::lift_memory_limit();
        let try_load =
            |kind, target| outcome("programs of this kind", trial::program(kind, target), privileges);
        let raw_tracepoint = try_load(bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, None);
        let bpf = match &raw_tracepoint {
            // The type alone may be unknown.
            Support::No(_) => {
                outcome("programs", trial::program(bpf_prog_type::BPF_PROG_TYPE_KPROBE, None), privileges)
                    .and(|| confidentiality(privileges))
            }
            Support::Yes => confidentiality(privileges),
        };
        let bpf = match bpf {
            Support::No(reason) if reason.remedy.is_none() => {
                // Neither kind: then BPF itself may be missing, or only its tracing half.
                match trial::ring_buffer() {
                    Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                        Support::no("this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)")
                    }
                    _ => Support::No(reason),
                }
            }
            other => other,
        };
        let needs = |kind: &str, support: Support, config: &str| match support {
            Support::No(reason) if reason.remedy.is_none() && !reason.why.contains("CONFIG_") => {
                Support::no(format!("this kernel has no {kind} programs ({config})"))
            }
            other => other,
        };
        Self {
            ring_buffer: match outcome("ring buffers", trial::ring_buffer(), privileges) {
                Support::No(reason) if reason.remedy.is_none() => {
                    Support::no(format!("this kernel has no BPF ring buffer: {}", reason.why))
                }
                other => other,
            },
            perf_event_array: outcome("perf event arrays", trial::perf_event_array(), privileges),
            fentry: fentry(symbols, btf, privileges),
            kprobe: kprobe(tree, symbols).and(|| {
                needs("kprobe", try_load(bpf_prog_type::BPF_PROG_TYPE_KPROBE, None), "CONFIG_BPF_EVENTS")
            }),
            kprobe_on_ftrace: built_in(symbols, "kprobe_ftrace_handler", "CONFIG_KPROBES_ON_FTRACE"),
            perf_event: needs(
                "perf event",
                try_load(bpf_prog_type::BPF_PROG_TYPE_PERF_EVENT, None),
                "CONFIG_BPF_EVENTS",
            ),
            raw_tracepoint: needs("raw tracepoint", raw_tracepoint, "CONFIG_BPF_EVENTS"),
            bpf,
        }
    }
}

fn confidentiality(privileges: &Privileges) -> Support {
    // security/lockdown: LOCKDOWN_BPF_READ_KERNEL and LOCKDOWN_KPROBES belong to this level.
    if privileges.lockdown == Lockdown::Confidentiality {
        return Support::No(Reason::with_remedy(
            "kernel lockdown is in confidentiality mode, where BPF may not read kernel memory",
            "boot with lockdown=integrity or without lockdown",
        ));
    }
    Support::Yes
}

fn outcome(what: &str, result: io::Result<()>, privileges: &Privileges) -> Support {
    match result {
        Ok(()) => Support::Yes,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => {
            let lacking: Vec<_> = [Capability::Bpf, Capability::Perfmon]
                .into_iter()
                .filter(|&c| !privileges.allows(c))
                .map(Capability::name)
                .collect();
            Support::No(if lacking.is_empty() {
                Reason::with_remedy(
                    format!("the kernel forbids BPF {what} although the capabilities are there"),
                    "look for a security module, a seccomp filter or kernel lockdown",
                )
            } else {
                Reason::with_remedy(format!("BPF needs {}", lacking.join(" and ")), "run as root")
            })
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
            Support::no("this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)")
        }
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            Support::no(format!("the kernel does not know BPF {what}"))
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOMEM) => Support::No(Reason::with_remedy(
            "the kernel refuses memory for BPF",
            "raise the limit of locked memory (ulimit -l unlimited)",
        )),
        Err(e) => Support::no(format!("the kernel refuses BPF {what}: {e}")),
    }
}

fn built_in(symbols: &FoundSymbols, symbol: &str, config: &str) -> Support {
    if symbols.has(symbol) {
        Support::Yes
    } else {
        Support::no(format!("this kernel is built without {config}"))
    }
}

/// Trampolines sit on ftrace's sites and are placed through its direct calls.
fn fentry(symbols: &FoundSymbols, btf: &Result<FoundTypes, Reason>, privileges: &Privileges) -> Support {
    let target = match btf {
        Err(reason) => return Support::No(reason.clone()),
        Ok(found) => found.functions.get(TRIAL_TARGET).copied(),
    };
    let ftrace = if symbols.has("register_ftrace_function") || symbols.has("ftrace_caller") {
        Support::Yes
    } else {
        Support::no(
            "this kernel is built without CONFIG_DYNAMIC_FTRACE: no function has a place for a trampoline",
        )
    };
    ftrace.and(|| built_in(symbols, "register_ftrace_direct", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS")).and(
        || match target {
            Some(target) => outcome(
                "tracing programs",
                trial::program(bpf_prog_type::BPF_PROG_TYPE_TRACING, Some(target)),
                privileges,
            ),
            None => Support::no(format!("the kernel's BTF has no {TRIAL_TARGET} to try it with")),
        },
    )
}

fn kprobe(tree: &Tree, symbols: &FoundSymbols) -> Support {
    built_in(symbols, "register_kprobe", "CONFIG_KPROBES").and(|| {
        if tree.path("/sys/bus/event_source/devices/kprobe/type").exists() {
            Support::Yes
        } else {
            Support::no(
                "this kernel is built without CONFIG_KPROBE_EVENTS: no kprobe can be had through perf",
            )
        }
    })
}
