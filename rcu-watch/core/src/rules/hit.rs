//! One hit as the rules look at it: the words, decoded once.

use crate::model::generation::{Base, Context};
use crate::model::kernel::{IrqCounting, KernelModel};
use crate::probe::{Handler, Mechanism, Point, Probe};
use crate::snapshot::Snapshot;
use crate::vantage::{Underlying, Vantage, underlying};

/// A snapshot, where it was taken, and what that makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// What is known of the kernel.
    pub kernel: &'a KernelModel,
    /// The probe that was hit.
    pub probe: &'a Probe,
    /// What it read.
    pub snapshot: &'a Snapshot<'a>,
    /// From where it read the words.
    pub vantage: Vantage,
    /// The code that was probed or interrupted.
    pub under: Underlying,
    /// W of the words as read.
    pub watching: bool,
    /// W of that code.
    pub under_watching: bool,
    /// What the outermost context that M counts interrupted.
    pub base: Base,
    /// Counted contexts on top of the base.
    pub depth: i64,
    /// NMIs, and exceptions like them, that P counts.
    pub nmi_depth: u32,
    /// Hard irqs that P counts; each NMI adds one of its own.
    pub hardirq_depth: u32,
    /// The context in S; `None` before 6.0, where S does not hold it.
    pub context: Option<Context>,
}

impl<'a> Hit<'a> {
    /// Decodes the words of `snapshot`, which `probe` read.
    #[must_use]
    pub fn new(kernel: &'a KernelModel, probe: &'a Probe, snapshot: &'a Snapshot<'a>) -> Self {
        let vantage = Vantage::of(kernel, probe, snapshot);
        let under = underlying(kernel, snapshot, vantage);
        let rcu = &snapshot.rcu;
        let (base, depth) = kernel.generation.base(rcu.nmi_nesting);
        Self {
            kernel,
            probe,
            snapshot,
            vantage,
            under,
            watching: kernel.generation.watches(rcu.state),
            under_watching: kernel.generation.watches(under.rcu.state),
            base,
            depth,
            nmi_depth: kernel.preempt.nmi_depth(rcu.preempt_count),
            hardirq_depth: kernel.preempt.hardirq_depth(rcu.preempt_count),
            context: kernel.generation.context(rcu.state),
        }
    }

    /// N as read.
    #[must_use]
    pub const fn n(&self) -> i64 {
        self.snapshot.rcu.nesting.0
    }

    /// M as read.
    #[must_use]
    pub const fn m(&self) -> i64 {
        self.snapshot.rcu.nmi_nesting.0
    }

    /// Whether the words are those of the code that the probe is about.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.vantage == Vantage::Direct
    }

    /// Whether N and M count as before 4.16.
    #[must_use]
    pub const fn is_old_counting(&self) -> bool {
        self.kernel.generation.counts_irqs_in_nesting()
    }

    /// Whether the probe is on a function, rather than on a word, a tracepoint or a clock.
    #[must_use]
    pub const fn is_on_function(&self) -> bool {
        matches!(self.probe.mechanism, Mechanism::Fentry | Mechanism::KprobeFtrace | Mechanism::KprobeInt3)
    }

    /// Whether the probe sits on the way into an NMI or exception, before RCU is told: up to 5.7 that way can be
    /// hooked, and any words are legal there.
    #[must_use]
    pub fn is_at_edge(&self) -> bool {
        self.kernel.irqs == IrqCounting::Every
            && self.is_on_function()
            && matches!(self.probe.point, Point::NmiEnter | Point::IstEnter)
    }

    /// Whether the probe is there to see `point`.
    #[must_use]
    pub fn is_at(&self, point: Point) -> bool {
        self.probe.point == point
    }

    /// Handlers of somebody else.
    pub fn foreign_handlers(&self) -> impl Iterator<Item = &'a Handler> {
        self.probe.handlers.iter().filter(|handler| !handler.ours)
    }
}
