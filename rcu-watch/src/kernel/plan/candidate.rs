//! Whether a probe can sit on a function or tracepoint of this kernel, and should.
//!
//! Each mechanism has its own list of reasons to pass it over; the first that holds is the one that is told.
//! What is not known (a list that could not be read) does not pass anything over: then the kernel has the
//! last word when the probe is attached.

use rcu_watch_core::probe::{Handler, HandlerKind, Mechanism, Reliance};

use crate::kernel::facts::attribution::Site;
use crate::kernel::facts::{Facts, FtraceValidation};
use crate::kernel::plan::{points, transition};
use crate::kernel::read::support::{Reason, Support};

/// Why a probe on a site that ftrace guards would be as blind as the handlers there.
const GUARDED: &str =
    "this kernel's ftrace calls nobody there while RCU is off, so a probe on the site would not see it";

/// A function, as a candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function<'a> {
    pub name: &'a str,
    /// Its handlers, where it has any.
    pub site: Option<&'a Site>,
}

/// The function's id among the kernel's types.
#[must_use]
pub(crate) fn type_id(facts: &Facts, function: &str) -> Option<u32> {
    facts.btf.as_ref().ok()?.functions.get(function).copied()
}

impl Function<'_> {
    fn module<'a>(&'a self, facts: &'a Facts) -> Option<&'a str> {
        let of_symbol = || facts.symbols.as_ref().ok()?.symbols.get(self.name)?.module.as_deref();
        self.site.and_then(|site| site.module.as_deref()).or_else(of_symbol)
    }

    /// What speaks against any probe on it.
    fn objection(&self, facts: &Facts) -> Option<Reason> {
        if points::is_hands_off(self.name) {
            return Some(Reason::new("probes themselves use it: one there could call itself"));
        }
        let symbols = facts.symbols.as_ref().ok()?;
        match symbols.symbols.get(self.name) {
            None => Some(Reason::new("this kernel has no such function")),
            Some(symbol) if symbol.functions > 1 => Some(Reason::new(format!(
                "this kernel has {} functions of this name, and a probe is placed by name",
                symbol.functions
            ))),
            Some(_) => None,
        }
    }

    /// ftrace refuses handlers there, and warns.
    fn is_refused_by_ftrace(&self, facts: &Facts) -> bool {
        facts.ftrace_validates_rcu != FtraceValidation::No && points::runs_in_eqs(self.name)
    }

    /// Its handlers and a probe of ours at the same place are called by ftrace, which calls none of them while RCU is off.
    ///
    /// One direct call is no business of ftrace's, and the guard is in what calls several
    /// (kernel/trace/ftrace.c:__ftrace_ops_list_func) and in what calls kprobes (kprobe_ftrace_handler).
    fn shares_a_guarded_site(&self, facts: &Facts) -> bool {
        let is_carried = |handler: &Handler| {
            handler.kind == HandlerKind::Livepatch
                || handler.kind == HandlerKind::FtraceOps
                || handler.reliance == Reliance::SkippedByKernel
        };
        facts.ftrace_validates_rcu == FtraceValidation::Yes
            && self.site.is_some_and(|site| site.handlers.iter().any(is_carried))
    }

    /// Where a kprobe of the function sits, in bytes from its start: behind ftrace's site where that is guarded.
    #[must_use]
    pub(crate) fn kprobe_offset(&self, facts: &Facts) -> u64 {
        if self.is_guarded(facts) { self.behind_site(facts).unwrap_or(0) } else { 0 }
    }

    /// A handler that ftrace carries would not be called there with RCU off, by whatever way it came.
    fn is_guarded(&self, facts: &Facts) -> bool {
        facts.ftrace_validates_rcu == FtraceValidation::Yes
            && self.site.is_some_and(|site| !site.handlers.is_empty())
            && facts.traceable.contains(self.name) == Some(true)
    }

    /// The instruction behind ftrace's site, which the function's own body begins with: on x86 the site is a nop of five
    /// bytes (arch/x86/include/asm/ftrace.h:MCOUNT_INSN_SIZE), at the entry or behind an endbr64.
    fn behind_site(&self, facts: &Facts) -> Option<u64> {
        const ENDBR: u64 = 4;
        const SITE: u64 = 5;
        let symbol = facts.symbols.as_ref().ok()?.symbols.get(self.name)?;
        let offset = facts.ftrace_sites.get(self.name)?.checked_sub(symbol.address)?;
        (facts.machine == "x86_64" && symbol.address != 0 && [0, ENDBR].contains(&offset))
            .then_some(offset + SITE)
    }

    /// Can it be hooked by fentry?
    #[must_use]
    pub(crate) fn fentry(&self, facts: &Facts, allow_fentry: bool) -> Support {
        let is_livepatched = self.site.is_some_and(Site::is_livepatched);
        let reason = if let Some(reason) = facts.features.fentry.reason() {
            reason.clone()
        } else if let Some(off) = facts.handled.switches.ftrace_is_off() {
            // It would attach, and never fire.
            off
        } else if let Some(objection) = self.objection(facts) {
            objection
        } else if let Some(module) = self.module(facts) {
            Reason::new(format!(
                "it is in module {module}, which a trampoline would keep from being unloaded"
            ))
        } else if facts.fentry_excludes_livepatch && is_livepatched {
            Reason::new("it is livepatched, and this kernel allows no trampoline there")
        } else if facts.fentry_excludes_livepatch && !allow_fentry {
            Reason::with_remedy(
                "on this kernel a trampoline keeps the function from being livepatched",
                "--allow-fentry takes that into account",
            )
        } else if facts.btf.as_ref().is_ok_and(|btf| !btf.functions.contains_key(self.name)) {
            Reason::new("it is not in the kernel's BTF")
        } else if facts.traceable.contains(self.name) == Some(false) {
            Reason::new("ftrace cannot hook it (notrace or noinstr)")
        } else if self.is_refused_by_ftrace(facts) {
            Reason::new("it runs with RCU off, where this kernel's ftrace may refuse handlers with a warning")
        } else if self.shares_a_guarded_site(facts) {
            Reason::new(GUARDED)
        } else {
            return Support::Yes;
        };
        Support::No(reason)
    }

    /// Can it be hooked by a kprobe, and by which kind?
    ///
    /// # Errors
    /// What stands in the way.
    pub(crate) fn kprobe(&self, facts: &Facts) -> Result<Mechanism, Reason> {
        let traceable = facts.traceable.contains(self.name);
        let on_ftrace = traceable == Some(true) && facts.features.kprobe_on_ftrace.is_yes();
        if let Some(reason) = facts.features.kprobe.reason() {
            return Err(reason.clone());
        }
        if let Some(objection) = self.objection(facts) {
            return Err(objection);
        }
        if facts.kprobe_blacklist.contains(self.name) == Some(true) {
            return Err(Reason::new("it is on the kernel's kprobe blacklist"));
        }
        if traceable == Some(false) {
            // kernel/trace/trace_kprobe.c:within_notrace_func
            return Err(Reason::new("it is notrace, where this kernel refuses kprobes of BPF programs"));
        }
        let switches = facts.handled.switches;
        let ftrace_is_off = switches.ftrace_is_off().filter(|_| on_ftrace);
        if let Some(off) = switches.kprobes_are_off().or(ftrace_is_off) {
            return Err(off);
        }
        if on_ftrace && self.is_guarded(facts) {
            let is_behind = self.behind_site(facts).is_some();
            return if is_behind { Ok(Mechanism::KprobeInt3) } else { Err(Reason::new(GUARDED)) };
        }
        if on_ftrace && self.is_refused_by_ftrace(facts) {
            return Err(Reason::new(
                "it runs with RCU off, where this kernel's ftrace may refuse handlers with a warning",
            ));
        }
        if !on_ftrace && transition::is_on_the_way_of_int3(self.name) {
            return Err(Reason::new(
                "it may take an int3 here, whose own entry calls it and would hit it again",
            ));
        }
        Ok(if on_ftrace { Mechanism::KprobeFtrace } else { Mechanism::KprobeInt3 })
    }
}

/// Can this raw tracepoint be used?
#[must_use]
pub(crate) fn raw_tracepoint(facts: &Facts, name: &str) -> Support {
    let unknown = || Support::no(format!("it is not known whether this kernel has the tracepoint {name}"));
    facts.features.raw_tracepoint.clone().and(|| facts.tracepoints.get(name).cloned().unwrap_or_else(unknown))
}
