//! The text of each rule's page; a row of the table names its page.

/// What there is to say about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What a finding means, in a sentence.
    pub means: &'static str,
    /// What goes wrong for whom.
    pub matters: &'static str,
    /// The condition, in the notation of the state words.
    pub fires: &'static str,
    /// What it is silent on, and why.
    pub silent: &'static str,
    /// Where the rule comes from: the thread, commits, reports.
    pub origin: &'static str,
    /// What to do about a finding.
    pub remedy: &'static str,
}

pub(super) const HANDLER_UNWATCHED: Page = Page {
    means: "Somebody else's handler ran on this CPU while RCU was not watching it.",
    matters: "RCU ignores such a CPU. Whatever the handler reads under rcu_read_lock() can be freed under it \
by an update on another CPU: a use after free that no lock and no sanitizer sees.",
    fires: "a function was entered with W=0 (or, under an exception, M tells that the code under it ran so) \
and a handler that relies on RCU sits on it: a BPF program, an ftrace-based or optimised kprobe, an unknown \
ftrace ops, or a livepatch, whose replacement body ran.",
    silent: "handlers that look first, use no RCU, or run from int3 or #DB (RW015); handlers that the kernel \
refused (RW008, RW013); our own probes. Info at most where int3 out of an EQS cannot be told from an \
optimised probe inside an NMI.",
    origin: "LKML, 8 May 2017, \"livepatch/rcu: Warn when system consistency is broken in RCU code\". Stock \
kernels up to 6.2 run arch_cpu_idle and the cpuidle drivers traceable with RCU off; 2b5a0e425e6e \
(\"objtool/idle: Validate __cpuidle code as noinstr\") ended that in 6.3.",
    remedy: "take the handler off the function; `handlers` names it. Patch or trace the caller instead, \
where RCU still watches, or guard the handler by what the table of guards shows to protect.",
};

pub(super) const IRQ_ENTER_NO_EFFECT: Page = Page {
    means: "RCU was told of an irq and still does not watch.",
    matters: "the caller believes that it is protected. From here on everything in the irq, or in the handler \
that made the call, uses RCU unprotected.",
    fires: "W=0 right after rcu_irq_enter() / ct_irq_enter() returned (irq_enter_rcu and its like), or, up to \
4.15, the call was made where it cannot work: W=0 with N not zero, or M not zero.",
    silent: "the entry of those functions themselves, where W=0 is why they are called.",
    origin: "the thread's five steps to \"hilarity\" and its question about an NMI before the increment in \
rcu_dynticks_eqs_enter(). a0eb22bf64a7 (\"rcu: Reduce dyntick-idle state space\") removed the window in 4.16.",
    remedy: "in a handler, call rcu_nmi_enter(), or skip unless rcu_is_watching(). In entry code this is a \
kernel bug: report it with the record of the run.",
};

pub(super) const NMI_EDGE: Page = Page {
    means: "Code on the way of an NMI or exception was reached with the NMI bits of P clear.",
    matters: "in_nmi() says no there. A handler that decides by it takes the irq path inside an NMI.",
    fires: "a probe in an NMI or exception handler, or one that a data watchpoint reached, sees P without NMI \
bits.",
    silent: "kernels on which #BP and #DB never set them (up to 5.7, arm64): there RW004 tells.",
    origin: "the thread: `if (in_nmi()) rcu_nmi_enter(); else rcu_irq_enter();` fails at the very edges of the \
NMI. 0d00449c7a28 (\"x86: Replace ist_enter() with nmi_enter()\"), ba1f2b2eaa2a (\"x86/entry: Fix NMI vs IRQ \
state tracking\").",
    remedy: "do not guard by in_nmi() on this path. Where it is an error, report the entry code.",
};

pub(super) const EXCEPTION_NOT_NMI: Page = Page {
    means: "RCU counted an exception by rcu_nmi_enter() that in_nmi() does not show.",
    matters: "nothing is wrong: it is legal up to 5.7 and on arm64. It shows a place where a guard that asks \
in_nmi() would choose the wrong call.",
    fires: "inside a known exception handler M counts the entry and P has no NMI bits.",
    silent: "kernels that set NMI bits on every exception from the kernel: there it is RW003.",
    origin: "the thread: rcu_nmi_enter() is also called for exceptions, from ist_enter(); \
in_some_other_exception() does not exist. arm64: d8bb6718c4db (\"arm64: Make debug exception handlers visible \
from RCU\").",
    remedy: "nothing, unless a handler of yours asks in_nmi().",
};

pub(super) const IRQS_ON_IN_SECTION: Page = Page {
    means: "Interrupts were enabled where RCU's counters must not be interrupted by a task switch.",
    matters: "an irq there may switch tasks: the section is left on another CPU, and both CPUs' counters are \
wrong from then on.",
    fires: "RFLAGS.IF is set in code whose P has NMI bits, or at a write to S that enters or leaves an EQS; or an \
irq runs on top of a transition (M even, below NI).",
    silent: "M=1 alone: a softirq after an irq from idle runs with interrupts on; momentary EQS, where W stays.",
    origin: "the thread: always calling rcu_nmi_enter() needs interrupts off until rcu_nmi_exit(). 32d4fd5751ea \
and 6d9c7f51b1d9 (\"cpuidle,intel_idle: Fix CPUIDLE_FLAG_IRQ_ENABLE\", and again).",
    remedy: "find who enabled them: the stack of the finding; idle drivers and NMI handlers are the usual ones.",
};

pub(super) const NESTING_IMBALANCE: Page = Page {
    means: "A nesting counter went below zero, leaked, or is not back at rest at a context switch.",
    matters: "a CPU whose count is too high never looks idle and holds up every grace period; one whose count \
is too low stops being watched while it runs.",
    fires: "M<0, N<0, N>2, M more than 64 above 0 or above NI; or at sched_switch anything but W=1, N=1, M=NI \
(up to 4.15: N of one task, M=0).",
    silent: "every depth that a stack of irqs, exceptions and NMIs can have.",
    origin: "what one entry adds its exit takes away again, so a task is switched with both counters at rest. syzbot, \
\"RCU dynticks_nesting counter underflow/zero!!\", 5.7-next.",
    remedy: "an entry without its exit, or an exit too many: look at the irq or exception path that ran last on \
that CPU; out-of-tree entry code and idle drivers first.",
};

pub(super) const STATE_DISAGREES: Page = Page {
    means: "The watching bit, the context and the counters contradict each other.",
    matters: "one of them is wrong. Either RCU waits for a CPU that it need not, or it ignores one that runs.",
    fires: "W=0 with N or M not zero; W=0 with C=kernel; W=1 with N=0 and M=0 outside a transition; M odd \
with N not zero, or M at NI or above with N zero; a task with the context of an EQS.",
    silent: "the inside of a transition, which only RCU's own functions can see; the window of up to 4.15 \
(W=0 with N set); an NMI from user mode of a housekeeping CPU (C=user with W=1).",
    origin: "the algorithm's invariants since 4.16, a0eb22bf64a7: W=0 implies N=0 and M=0, at every instruction.",
    remedy: "the words were read twice and did not move: this is corruption. Look for stray writes (RW012 with \
--watchpoints) and entry code outside the tree.",
};

pub(super) const LIVEPATCH_BYPASSED: Page = Page {
    means: "A patched function ran in its old version, because ftrace refuses handlers while RCU is off.",
    matters: "old and new code ran side by side although the patch says it is applied: the consistency that a \
livepatch promises is broken, with one WARN in the log at most.",
    fires: "a function with a livepatch was entered with W=0 on a kernel whose ftrace validates RCU; a probe behind the \
entry of the old body sees it where ftrace would skip ours, too.",
    silent: "kernels whose ftrace does not: there the replacement runs unwatched (RW001).",
    origin: "d099dbfd3306 (\"cpuidle: tracing: Warn about !rcu_is_watching()\"), 6.3 to 6.9; optional since \
b0e28a4b5bec (FTRACE_VALIDATE_RCU_IS_WATCHING). \"RCU not on for:\" in the log is the same event.",
    remedy: "do not patch functions that run in an EQS; patch their callers.",
};

pub(super) const EQS_WINDOW_HIT: Page = Page {
    means: "An NMI or exception landed inside a transition into or out of an EQS.",
    matters: "nothing is wrong: rcu_nmi_enter() copes. It is the moment in which every weaker guard fails, so it \
shows how often a system passes there.",
    fires: "M is even, above 0 and below NI (up to 4.15: an NMI that interrupted N and S in disagreement).",
    silent: "everything else.",
    origin: "the thread: what if the NMI lands in rcu_dynticks_eqs_enter() before the increment?",
    remedy: "nothing.",
};

pub(super) const UNCOUNTED_CONTEXT: Page = Page {
    means: "An irq or NMI runs that RCU was not told of.",
    matters: "if it came out of an EQS it runs unprotected as a whole, and every RCU reader in it with it.",
    fires: "W=0 with NMI or HARDIRQ bits in P; an NMI in P and none in M; an irq in the idle task (up to 5.7: \
any irq) with M at rest; M odd above NI; or, as info, the stream of a CPU shows an entry, an exit or a task \
that cannot follow: two entries into idle in a row, with every run in between in the stream.",
    silent: "the entry of RCU's own functions, which are called to be told; counts above what P shows (arm64, \
up to 5.7, unwinding); softirqs, which need no count; records with a run missing in between, lost or not \
sent. More NMIs in P than in M is info: a machine check \
on the way into an NMI finds it so.",
    origin: "f0cd5ac1e4c5 (\"arm64: entry: fix NMI {user,kernel}->kernel transitions\"), \
ee4a2e08c101 (\"entry: Add arch_in_rcu_eqs()\").",
    remedy: "a bug in entry code: report it with the stack, which names the vector.",
};

pub(super) const RCU_OFFLINE: Page = Page {
    means: "A hooked function ran on a CPU that RCU considers offline.",
    matters: "RCU does not wait for an offline CPU, whatever its state word says: W is 1 and means nothing.",
    fires: "the CPU's bit is missing from its leaf's qsmaskinitnext, outside an NMI.",
    silent: "NMIs; the functions that report the CPU on or off themselves.",
    origin: "29368e093921 (\"x86/smpboot: Move rcu_cpu_starting() earlier\") and the same for arm64, \
s390 and powerpc.",
    remedy: "take handlers off the CPU hotplug path: native_play_dead, load_ucode_ap and their like.",
};

pub(super) const UNKNOWN_WRITER: Page = Page {
    means: "Something other than RCU's own code wrote a state word.",
    matters: "the words are the only thing that grace periods go by; a stray write ends them early or never.",
    fires: "a data watchpoint on a word reports an instruction and a caller that are both outside RCU's and \
context tracking's functions.",
    silent: "kernels whose symbols are hidden: then nobody can be told from anybody.",
    origin: "the algorithm: a CPU's words are written by RCU's own functions, and by nothing else. No stock kernel is known \
to break that; the lab does it with a module.",
    remedy: "the finding names the writer.",
};

pub(super) const HANDLER_DROPPED: Page = Page {
    means: "The kernel skipped somebody's handler because RCU was off, and told nobody.",
    matters: "the tool behind it misses events without knowing: no miss is counted.",
    fires: "a function was entered with W=0, and its handler is one that this kernel does not call then: fprobe \
and kprobe.multi since e0a624919040, ftrace-based ones where ftrace validates RCU.",
    silent: "handlers that run (RW001) and livepatches (RW008).",
    origin: "e0a624919040 (\"fprobe: Use guard(rcu_sched_notrace) and check rcu_is_watching()\"), \
c0f3bb4054ef (\"rethook: Reject getting a rethook if RCU is not watching\").",
    remedy: "do not trust that handler's counts for this function; hook a caller.",
};

pub(super) const SAMPLED_IN_EQS: Page = Page {
    means: "An NMI interrupted code that can be hooked, and RCU was not watching it.",
    matters: "nobody hooked it yet: whoever does runs unprotected. It finds such functions with no probe on them.",
    fires: "M=1 in an NMI whose registers point into kernel text outside the noinstr, cpuidle and entry sections.",
    silent: "M above 1 (code in an irq or exception, watched); user mode; kernels whose section bounds are hidden. \
A single sample is info: the registers of a sample may be late.",
    origin: "the limit of probes: they see the functions that they are on. 2b5a0e425e6e (\"objtool/idle: Validate \
__cpuidle code as noinstr\") left nothing to hook in idle from 6.3 on.",
    remedy: "`rcu-watch check FUNCTION` before anybody patches or traces it; report it on 6.3 and later.",
};

pub(super) const EXPOSED_FUNCTION: Page = Page {
    means: "A function that can be hooked ran with RCU off, and nobody was hurt yet.",
    matters: "whoever patches or traces it next runs unprotected.",
    fires: "as RW001, but on it are our own probe only, or handlers that guard themselves, use no RCU, or run \
from int3 or #DB, whose entry was counted; they are named.",
    silent: "functions whose job it is to run there (rcu_idle_exit, ct_irq_enter_irqson).",
    origin: "the thread, and stock kernels up to 6.2: arch_cpu_idle, default_idle, mwait_idle, intel_idle, \
acpi_idle_enter and their like.",
    remedy: "keep handlers away from it; `rcu-watch audit` lists all of this kernel.",
};

pub(super) const HANDLER_DEAD: Page = Page {
    means: "A handler that the kernel lists as placed cannot run.",
    matters: "a fix that is not in force, a monitor that sees nothing: everything reports success, and nothing ever \
calls the handler.",
    fires: "kernel.ftrace_enabled is 0, or kprobes are disarmed; a kprobe sits in a body that a livepatch replaced; a \
site is not the entry of the function that it names; a livepatch is enabled and its function has no handler. Two looks \
must agree.",
    silent: "a handler that is merely never reached; one whose site changed between the two looks. Info where its owner \
switched it off or never on, or where it went with its module. Dead handlers of our own are no finding: they make the \
run inconclusive.",
    origin: "dynup/kpatch issues 385 and 387 and tracee issue 1150 (ftrace switched off), Flatcar issue 2183 (a site that \
a weak symbol left behind), and arm_all_kprobes() and disarm_all_kprobes() in kernel/kprobes.c.",
    remedy: "`sysctl kernel.ftrace_enabled=1`; `echo 1 > /sys/kernel/debug/kprobes/enabled`; place the probe anew on \
the replacement, or by address on the function's real entry. `rcu-watch handlers` lists every handler, dead or alive.",
};

pub(super) const HANDLER_MISSED: Page = Page {
    means: "The kernel skipped runs of somebody's handler, and counted them.",
    matters: "the tool behind it has seen less than happened, and mostly does not say so.",
    fires: "a counter of skipped runs rose during the run: recursion_misses of a BPF program, `missed` of its link, \
the misses of a kprobe or kretprobe event. The count is of the run only.",
    silent: "what was missed before the run; our own programs, whose misses are in the books; handlers whose misses \
this kernel does not count.",
    origin: "bcc issues 2825 and 4198, bpftrace issue 835, pwru issue 649. 9ed9e9ba2337 (\"bpf: Count the number of times \
recursion was prevented\") for programs; `missed` of kprobe links came with 6.7.",
    remedy: "a kretprobe: raise maxactive. A BPF program that is reached from inside another: hook something that \
the other does not call. Do not trust its counts.",
};

pub(super) const TRANSITION_STALLED: Page = Page {
    means: "A livepatch transition has not come to its end.",
    matters: "some tasks run the old body and some the new one. No other livepatch can be loaded or taken off until \
it is over, and a fix is not in force for whoever holds it.",
    fires: "a patch is in transition for longer than --stall-after (15 s unless told otherwise). The tasks that hold it \
are named with their stacks and the patched function that they are in; it is told again when others hold it.",
    silent: "transitions that are younger. The `livepatch` event of its end says how long it took.",
    origin: "d83a7cb375ee (\"livepatch: change to a per-task consistency model\"); dynup/kpatch issues 751, 982 and 1409.",
    remedy: "let the task return from the function: wake it, or end it. A kthread that never leaves the function holds \
it for ever. `rcu-watch patches --wait 60s` waits and tells. Forcing it gives consistency up (RW019).",
};

pub(super) const CONSISTENCY_FORCED: Page = Page {
    means: "A livepatch transition was forced.",
    matters: "tasks were moved while they were in the function that is patched: old and new code can run at once, for \
ever, and the patch's module can never be unloaded.",
    fires: "somebody wrote to the patch's `force` file during the run; the tasks that were still in old code are named.",
    silent: "info where it had happened before the run.",
    origin: "c99a2be790b0 (\"livepatch: force transition to finish\"), klp_force_transition() in kernel/livepatch/transition.c.",
    remedy: "treat the host as inconsistent: plan a reboot, and do not unload or stack patches on it.",
};

pub(super) const GRACE_PERIOD_HELD: Page = Page {
    means: "A grace period of RCU does not end, because a CPU or a task holds it.",
    matters: "memory that waits to be freed piles up, synchronize_rcu() blocks whoever calls it (module unload, attaching \
and detaching of tracers), and in the end the kernel warns of a stall.",
    fires: "a normal, expedited or RCU-tasks grace period is older than half of its stall timeout and than five seconds, \
in two looks. Who holds it is named with its stack, and whose handlers are on that stack.",
    silent: "grace periods that are younger. What is read is read without locks: it is a picture, never an error.",
    origin: "print_other_cpu_stall() in kernel/rcu/tree_stall.h, which tells the same when the whole timeout is over; \
WSL issue 41136, falco issue 896, libbpf issue 783.",
    remedy: "the stack says what to end: a handler in a loop, a task that never sleeps, irqs that stay off.",
};
