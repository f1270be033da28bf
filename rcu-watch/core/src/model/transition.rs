//! The transitions of a CPU as programs: idle, user and guest, irqs, NMIs and exceptions, for each kernel.
//!
//! Read from the kernels' sources (docs/kernel.md, Transitions): `rcu_eqs_enter()` / `ct_kernel_exit()`,
//! `rcu_eqs_exit()` / `ct_kernel_enter()`, `irqentry_enter()`, `irqentry_nmi_enter()`, `ist_enter()`. The order
//! of the writes is the point; each is a step of its own, and an NMI may land between any two.

use alloc::vec;
use alloc::vec::Vec;

use super::call;
use super::generation::{Context, Generation, NON_IDLE, TASK_EXIT_IDLE, TASK_NEST_VALUE};
use super::kernel::PreemptLayout;
use super::step::{Mode, Site, Step, Test};
use super::variant::{EntryCode, Variant};

/// A named list of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub name: &'static str,
    pub steps: Vec<Step>,
}

/// What a CPU does outside irqs and NMIs, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Activity {
    /// A task that switches, with a momentary EQS.
    Task,
    /// The idle loop.
    Idle,
    /// Idle, woken on purpose: `ct_irq_enter_irqson()`, and `kernel_text_address()` of an unwinder.
    WokenIdle,
    /// User code on a nohz_full CPU.
    UserInEqs,
    /// User code on a housekeeping CPU.
    User,
    /// A guest's code.
    Guest,
}

impl Activity {
    pub(crate) const ALL: [Self; 6] =
        [Self::Task, Self::Idle, Self::WokenIdle, Self::UserInEqs, Self::User, Self::Guest];

    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Idle => "idle",
            Self::WokenIdle => "woken idle",
            Self::UserInEqs => "user in EQS",
            Self::User => "user",
            Self::Guest => "guest",
        }
    }

    #[must_use]
    pub(crate) const fn is_idle_task(self) -> bool {
        matches!(self, Self::Idle | Self::WokenIdle)
    }
}

/// Everything that can run on a CPU of one kernel, whose activity is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Programs {
    pub variant: Variant,
    pub activity: Activity,
    /// In the order of the constants below.
    pub table: Vec<Program>,
}

/// Indices into [`Programs::table`].
pub(crate) const BASE: u8 = 0;
pub(crate) const NMI: u8 = 1;
pub(crate) const IST: u8 = 2;
pub(crate) const IRQ: u8 = 3;
pub(crate) const IRQ_FROM_USER: u8 = 4;
pub(crate) const IST_FROM_USER: u8 = 5;

impl Programs {
    #[must_use]
    pub(crate) fn new(variant: Variant, activity: Activity) -> Self {
        let parts = Parts { variant, preempt: PreemptLayout::FOUR_BYTES };
        let base = match activity {
            Activity::Task => parts.task(),
            Activity::Idle => parts.idle(),
            Activity::WokenIdle => parts.woken_idle(),
            Activity::UserInEqs | Activity::User => parts.user(activity),
            Activity::Guest => parts.guest(),
        };
        let counted = activity.is_idle_task() || variant.entry == EntryCode::Legacy;
        let table = vec![
            Program { name: activity.name(), steps: base },
            Program { name: "NMI", steps: parts.nmi() },
            Program { name: "exception", steps: parts.ist() },
            Program { name: "irq", steps: parts.irq(counted) },
            Program { name: "irq from user", steps: parts.out_of_user(activity, parts.irq(counted)) },
            Program {
                name: "exception from user",
                steps: parts.out_of_user(activity, vec![Step::Hookable(Site::IstBody)]),
            },
        ];
        Self { variant, activity, table }
    }
}

/// Builds the programs of one kernel.
struct Parts {
    variant: Variant,
    preempt: PreemptLayout,
}

impl Parts {
    const fn generation(&self) -> Generation {
        self.variant.generation
    }

    fn step(&self) -> i32 {
        self.generation().layout().step.cast_signed()
    }

    /// The bits of S that say `context`; 0 where S does not hold it.
    fn context(&self, context: Context) -> i32 {
        (context as u32 & self.generation().layout().context_mask).cast_signed()
    }

    fn is_legacy(&self) -> bool {
        self.variant.entry == EntryCode::Legacy
    }

    /// `rcu_eqs_enter()` / `ct_kernel_exit()`.
    fn eqs_enter(&self, context: Context) -> Vec<Step> {
        let add = Step::AddState(self.step() + self.context(context));
        if self.generation().counts_irqs_in_nesting() {
            return vec![
                Step::SkipUnless(Test::NestingIsOneTask, 5),
                Step::Hookable(Site::Anything), // rcu_prepare_for_idle, the tracepoint
                Step::SetNesting(0),            // "Breaks tracing momentarily."
                Step::Hookable(Site::RcuInternal), // rcu_dynticks_eqs_enter
                add,
                Step::Skip(1),
                Step::AddNesting(-TASK_NEST_VALUE),
            ];
        }
        vec![
            Step::SetNmiNesting(0),
            Step::SkipUnless(Test::NestingIs(1), 4),
            Step::Hookable(Site::Anything), // rcu_preempt_deferred_qs, the tracepoint
            Step::SetNesting(0),
            add,
            Step::Skip(1),
            Step::AddNesting(-1),
        ]
    }

    /// `rcu_eqs_exit()` / `ct_kernel_enter()`.
    fn eqs_exit(&self, context: Context) -> Vec<Step> {
        let add = Step::AddState(self.step() - self.context(context));
        if self.generation().counts_irqs_in_nesting() {
            return vec![
                Step::SkipUnless(Test::NestingHasTaskBits, 2),
                Step::AddNesting(TASK_NEST_VALUE),
                Step::Skip(4),
                Step::SetNesting(TASK_EXIT_IDLE),
                Step::Hookable(Site::RcuInternal), // rcu_eqs_exit_common, with RCU off
                add,
                Step::Hookable(Site::Anything), // rcu_cleanup_after_idle, the tracepoint
            ];
        }
        vec![
            Step::SkipUnless(Test::NestingIsNot(0), 2),
            Step::AddNesting(1),
            Step::Skip(4),
            add,
            Step::Hookable(Site::Callout),
            Step::SetNesting(1),
            Step::SetNmiNesting(NON_IDLE),
        ]
    }

    fn task(&self) -> Vec<Step> {
        vec![
            Step::Hookable(Site::Anything),
            Step::Interrupts(false),
            Step::Hookable(Site::ContextSwitch),
            Step::Interrupts(true),
            Step::AddState(2 * self.step()), // rcu_momentary_eqs: W stays
        ]
    }

    fn idle(&self) -> Vec<Step> {
        let mut steps = vec![
            Step::Hookable(Site::Anything),
            Step::Interrupts(false),
            Step::Hookable(Site::ContextSwitch),
            Step::Hookable(Site::Anything),
        ];
        steps.extend(self.eqs_enter(Context::Idle));
        if self.variant.has_victims {
            steps.push(Step::Hookable(Site::Victim)); // arch_cpu_idle
        }
        // native_safe_halt: interrupts on in the EQS
        steps.extend([Step::Interrupts(true), Step::Interrupts(false)]);
        if self.variant.has_victims {
            steps.push(Step::Hookable(Site::RcuInternal)); // rcu_idle_exit
        }
        steps.extend(self.eqs_exit(Context::Idle));
        steps.extend([Step::Hookable(Site::Anything), Step::Interrupts(true)]);
        steps
    }

    fn woken_idle(&self) -> Vec<Step> {
        let generation = self.generation();
        let mut steps = vec![Step::Interrupts(false)];
        steps.extend(self.eqs_enter(Context::Idle));
        steps.push(Step::Hookable(Site::RcuInternal)); // ct_irq_enter_irqson
        steps.extend(call::irq_enter(generation));
        steps.push(Step::Hookable(Site::Anything));
        steps.extend(call::irq_exit(generation));
        steps.extend(call::nmi_enter(generation)); // kernel_text_address: no NMI bits
        steps.push(Step::Hookable(Site::Anything));
        steps.extend(call::nmi_exit(generation));
        steps.extend(self.eqs_exit(Context::Idle));
        steps.push(Step::Interrupts(true));
        steps
    }

    fn user(&self, activity: Activity) -> Vec<Step> {
        let mut steps = vec![
            Step::Hookable(Site::Anything),
            Step::Interrupts(false),
            Step::Hookable(Site::ContextSwitch),
        ];
        steps.extend(self.to_user(activity));
        steps.extend([Step::Interrupts(true), Step::Interrupts(false)]);
        steps.extend(self.leave_user(activity));
        steps.push(Step::Interrupts(true));
        steps
    }

    /// `__ct_user_enter()`: without nohz_full on this CPU only the context is noted.
    fn to_user(&self, activity: Activity) -> Vec<Step> {
        if activity == Activity::UserInEqs {
            let mut steps = self.eqs_enter(Context::User);
            steps.push(Step::Mode(Mode::UserInEqs));
            steps
        } else {
            vec![Step::AddState(self.context(Context::User)), Step::Mode(Mode::User)]
        }
    }

    fn leave_user(&self, activity: Activity) -> Vec<Step> {
        let mut steps = vec![Step::Mode(Mode::Kernel)];
        if activity == Activity::UserInEqs {
            steps.extend(self.eqs_exit(Context::User));
        } else {
            steps.push(Step::AddState(-self.context(Context::User)));
        }
        steps
    }

    /// `body` entered from user mode: that entry is no irq from idle and no NMI.
    fn out_of_user(&self, activity: Activity, body: Vec<Step>) -> Vec<Step> {
        let mut steps = self.leave_user(activity);
        steps.extend(body);
        steps.extend(self.to_user(activity));
        steps
    }

    fn guest(&self) -> Vec<Step> {
        let mut steps = vec![Step::Hookable(Site::Anything), Step::Interrupts(false)];
        steps.extend(self.eqs_enter(Context::Guest));
        steps.extend([Step::Mode(Mode::Guest), Step::Mode(Mode::Kernel)]);
        steps.extend(self.eqs_exit(Context::Guest));
        steps.extend([Step::Hookable(Site::Anything), Step::Interrupts(true)]);
        steps
    }

    /// `exc_nmi()`: P first, then RCU.
    fn nmi(&self) -> Vec<Step> {
        let bits = self.preempt.nmi_step().cast_signed();
        let mut steps = Vec::new();
        if self.is_legacy() {
            steps.push(Step::Hookable(Site::NmiEdge)); // do_nmi
        }
        steps.push(Step::AddPreempt(bits));
        if self.is_legacy() {
            steps.push(Step::Hookable(Site::RcuInternal)); // rcu_nmi_enter
        }
        steps.extend(call::nmi_enter(self.generation()));
        steps.push(Step::Hookable(Site::NmiBody));
        steps.extend(call::nmi_exit(self.generation()));
        steps.push(Step::AddPreempt(-bits));
        steps
    }

    /// #BP, #DB and #MC from the kernel.
    fn ist(&self) -> Vec<Step> {
        let generation = self.generation();
        let mut steps = Vec::new();
        match self.variant.entry {
            EntryCode::Generic => {
                let bits = self.preempt.nmi_step().cast_signed();
                steps.push(Step::AddPreempt(bits));
                steps.extend(call::nmi_enter(generation));
                steps.push(Step::Hookable(Site::IstBody));
                steps.extend(call::nmi_exit(generation));
                steps.push(Step::AddPreempt(-bits));
            }
            EntryCode::Arm64 => {
                steps.extend(call::nmi_enter(generation));
                steps.push(Step::Hookable(Site::IstBody));
                steps.extend(call::nmi_exit(generation));
            }
            EntryCode::Legacy => {
                steps.push(Step::Hookable(Site::IstEdge)); // do_int3, ist_enter
                steps.extend(call::nmi_enter(generation));
                // ist_enter: preempt_disable; do_int3: cond_local_irq_enable
                steps.extend([Step::AddPreempt(1), Step::InterruptsAsBefore]);
                steps.push(Step::Hookable(Site::IstBody));
                steps.extend([Step::Interrupts(false), Step::AddPreempt(-1)]);
                steps.extend(call::nmi_exit(generation));
            }
        }
        steps
    }

    /// An irq from the kernel: RCU first, then P; a softirq on the way out.
    fn irq(&self, counted: bool) -> Vec<Step> {
        let bits = self.preempt.hardirq_step().cast_signed();
        let mut steps = Vec::new();
        if counted {
            steps.extend(call::irq_enter(self.generation()));
        }
        steps.extend([
            Step::Hookable(Site::IrqTold),
            Step::AddPreempt(bits),
            Step::Hookable(Site::IrqBody),
            Step::AddPreempt(0x100 - bits),
            Step::Interrupts(true),
            Step::Hookable(Site::Softirq),
            Step::Interrupts(false),
            Step::AddPreempt(-0x100),
        ]);
        if counted {
            steps.extend(call::irq_exit(self.generation()));
        }
        steps
    }
}
