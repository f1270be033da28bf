//! The plan while it is made: the facts, what was asked for, and what was chosen so far.
//!
//! The files that plan a group of points take a [`Planner`]. It chooses the mechanism for a function, because
//! programs are finite and what was chosen before counts, and it keeps the list of probes.

use rcu_watch_common::slot;
use rcu_watch_core::probe::{Mechanism, Point, Probe};
use rcu_watch_core::report::header::PassedOver;

use crate::kernel::facts::attribution::Site;
use crate::kernel::facts::own_kprobe::is_kprobe;
use crate::kernel::facts::{Facts, FtraceValidation};
use crate::kernel::plan::attach_plan::{AttachPlan, PlannedProbe};
use crate::kernel::plan::candidate::{self, Function};
use crate::kernel::plan::points;
use crate::kernel::plan::request::Request;
use crate::kernel::read::support::Support;

/// The plan so far, and what it is made from.
pub(super) struct Planner<'a> {
    pub(super) facts: &'a Facts,
    pub(super) request: &'a Request,
    pub(super) plan: AttachPlan,
    /// Sites that are watched although none of their handlers relies on RCU.
    pub(super) quiet_sites: usize,
}

/// A mechanism and what it would sit on.
pub(super) struct Chosen {
    pub(super) mechanism: Mechanism,
    pub(super) symbol: String,
    /// Bytes into the function.
    pub(super) offset: u64,
}

impl Chosen {
    /// At the beginning of a function, or on a tracepoint.
    pub(super) const fn new(mechanism: Mechanism, symbol: String) -> Self {
        Self { mechanism, symbol, offset: 0 }
    }
}

impl<'a> Planner<'a> {
    pub(super) fn new(facts: &'a Facts, request: &'a Request) -> Self {
        Self { facts, request, plan: AttachPlan::default(), quiet_sites: 0 }
    }

    /// Adds the probe; returns its index.
    pub(super) fn add(&mut self, point: Point, chosen: Chosen, site: Option<&Site>) -> usize {
        let function = &chosen.symbol;
        let is_function = chosen.mechanism != Mechanism::RawTracepoint;
        self.plan.probes.push(PlannedProbe {
            offset: chosen.offset,
            type_id: candidate::type_id(self.facts, function),
            module: site.and_then(|site| site.module.clone()),
            probe: Probe {
                point,
                mechanism: chosen.mechanism,
                handlers: site.map(|site| site.handlers.clone()).unwrap_or_default(),
                is_rcu_internal: is_function && points::is_rcu_internal(function),
                ftrace_validates_rcu: is_function && self.facts.ftrace_validates_rcu == FtraceValidation::Yes,
                symbol: chosen.symbol,
            },
        });
        self.plan.probes.len() - 1
    }

    /// Adds a probe on a function that nobody else is on.
    pub(super) fn add_function(&mut self, point: Point, mechanism: Mechanism, symbol: &str) -> usize {
        self.add(point, Chosen::new(mechanism, symbol.to_owned()), None)
    }

    /// Chooses the tracepoint, or says why not.
    pub(super) fn try_tracepoint(&self, name: &str, passed_over: &mut Vec<PassedOver>) -> Option<Chosen> {
        let symbol = name.to_owned();
        let mechanism = Mechanism::RawTracepoint;
        match candidate::raw_tracepoint(self.facts, name) {
            Support::Yes => Some(Chosen::new(mechanism, symbol)),
            Support::No(reason) => {
                passed_over.push(PassedOver { mechanism, symbol, reason: reason.to_string() });
                None
            }
        }
    }

    /// Chooses a mechanism for the function, or says why none will do.
    pub(super) fn try_function(
        &self,
        function: Function<'_>,
        passed_over: &mut Vec<PassedOver>,
    ) -> Option<Chosen> {
        let symbol = function.name.to_owned();
        let mut pass_over = |mechanism, reason: String| {
            passed_over.push(PassedOver { mechanism, symbol: symbol.clone(), reason });
        };
        let in_use = |what: &str, count| {
            format!("all {count} {what} programs are in use; name fewer functions with --function")
        };
        let kprobe = function.kprobe(self.facts);
        let is_livepatched = function.site.is_some_and(Site::is_livepatched);
        let has_kprobe_left = self.count(is_kprobe) < slot::KPROBE_COUNT;
        match function.fentry(self.facts, self.request.allow_fentry) {
            // Allowed, but it costs a livepatch: only what takes no kprobe is worth that.
            Support::Yes if self.facts.fentry_excludes_livepatch && kprobe.is_ok() => {
                pass_over(
                    Mechanism::Fentry,
                    "a kprobe sees it too, and does not keep livepatches out".to_owned(),
                );
            }
            // kernel/bpf/trampoline.c, bpf_tramp_ftrace_ops_func: while the trampoline is being changed, registering
            // the livepatch's handler fails with EAGAIN, and its module does not load.
            Support::Yes if is_livepatched && has_kprobe_left && kprobe == Ok(Mechanism::KprobeFtrace) => {
                pass_over(
                    Mechanism::Fentry,
                    "a livepatch that loads while a trampoline comes or goes there is refused; a kprobe sees it too"
                        .to_owned(),
                );
            }
            Support::Yes if self.count(|m| m == Mechanism::Fentry) < slot::FENTRY_COUNT => {
                return Some(Chosen::new(Mechanism::Fentry, symbol));
            }
            Support::Yes => pass_over(Mechanism::Fentry, in_use("fentry", slot::FENTRY_COUNT)),
            Support::No(reason) => pass_over(Mechanism::Fentry, reason.to_string()),
        }
        match kprobe {
            Ok(mechanism) if has_kprobe_left => {
                Some(Chosen { mechanism, symbol, offset: function.kprobe_offset(self.facts) })
            }
            Ok(mechanism) => {
                pass_over(mechanism, in_use("kprobe", slot::KPROBE_COUNT));
                None
            }
            Err(reason) => {
                pass_over(Mechanism::KprobeFtrace, reason.to_string());
                None
            }
        }
    }

    fn count(&self, is: impl Fn(Mechanism) -> bool) -> u32 {
        u32::try_from(self.plan.count(is)).unwrap_or(u32::MAX)
    }
}
