// SPDX-License-Identifier: GPL-2.0
/*
 * Corrupts this CPU's RCU state words, one after another, and puts each back
 * before an interrupt can meet it. Writing to the parameter "act" runs an
 * action on the CPU of the writer:
 *
 *   leak    M is one irq too deep at a context switch
 *   zero    N and M are zero at a context switch although RCU watches
 *   nmi     P says NMI, M does not, in a function that anybody can hook
 *   write   S is written (with what it holds) by somebody who is not RCU
 *
 * The words are found without types: in a task M is 1 << 62, which nothing
 * else near it is, N is 1 and lies before it, and S is beside the two.
 *
 * A context switch is met at the tracepoint sched_switch: __schedule() calls it
 * with interrupts off, this module's first probe spoils the words, the last one
 * puts them back, and those of everybody else run in between. A tick that met
 * the words spoilt would rightly warn (rcu_is_cpu_rrupt_from_idle).
 */
#include <linux/atomic.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#define M_AT_REST (1L << 62)
#define BLOCK_LONGS 128

struct words {
	long *n;
	long *m;
	atomic_t *s;
};

static unsigned long (*lookup)(const char *name);
static unsigned long object;
static bool s_is_first;

/* What the next context switch of one CPU meets. */
struct switch_with {
	struct words words;
	long n;
	long m;
	int cpu;
	enum { WAITS, SPOILT, RESTORED } state;
};

/* Before and after the probes of everybody else, who have a default priority. */
#define FIRST (TRACEPOINT_DEFAULT_PRIO + 1)
#define LAST (TRACEPOINT_DEFAULT_PRIO - 1)

static struct tracepoint *sched_switch;

noinline void lab_state_target(void);
noinline void lab_state_write(atomic_t *s);

noinline void lab_state_target(void)
{
	barrier();
}

noinline void lab_state_write(atomic_t *s)
{
	atomic_add(0, s);
}

static bool find(unsigned long symbol, int cpu, struct words *words)
{
	long *block = (long *)(symbol + per_cpu_offset(cpu));
	int at;

	for (at = 2; at < BLOCK_LONGS; at++) {
		if (READ_ONCE(block[at]) != M_AT_REST || READ_ONCE(block[at - 1]) != 1)
			continue;
		words->n = &block[at - 1];
		words->m = &block[at];
		words->s = (atomic_t *)(s_is_first ? &block[at - 2] : &block[at + 1]);
		return true;
	}
	return false;
}

/* With interrupts off, in a task. */
static bool own(struct words *words)
{
	return find(object, smp_processor_id(), words);
}

static void spoil(void *data, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct switch_with *with = data;

	if (with->state != WAITS || smp_processor_id() != with->cpu)
		return;
	if (READ_ONCE(*with->words.n) != 1 || READ_ONCE(*with->words.m) != M_AT_REST)
		return;
	WRITE_ONCE(*with->words.n, with->n);
	WRITE_ONCE(*with->words.m, with->m);
	with->state = SPOILT;
}

static void restore(void *data, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	struct switch_with *with = data;

	if (with->state != SPOILT || smp_processor_id() != with->cpu)
		return;
	WRITE_ONCE(*with->words.n, 1);
	WRITE_ONCE(*with->words.m, M_AT_REST);
	WRITE_ONCE(with->state, RESTORED);
}

/* N and M are as given while the tracepoint of one context switch is called. */
static int at_a_switch(long n, long m)
{
	struct switch_with with = { .n = n, .m = m, .state = WAITS };
	unsigned long flags;
	bool found;
	int error;

	/* The last one first: what is spoilt is always put back. */
	error = tracepoint_probe_register_prio(sched_switch, restore, &with, LAST);
	if (error)
		return error;
	local_irq_save(flags);
	with.cpu = smp_processor_id();
	found = own(&with.words);
	local_irq_restore(flags);
	if (!found)
		error = -ENOENT;
	if (!error)
		error = set_cpus_allowed_ptr(current, cpumask_of(with.cpu));
	if (!error)
		error = tracepoint_probe_register_prio(sched_switch, spoil, &with, FIRST);
	if (!error) {
		while (READ_ONCE(with.state) != RESTORED)
			schedule_timeout_uninterruptible(1);
		tracepoint_probe_unregister(sched_switch, spoil, &with);
	}
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	tracepoint_probe_unregister(sched_switch, restore, &with);
	tracepoint_synchronize_unregister();
	return error;
}

static int as_nmi(void)
{
	unsigned long flags;

	local_irq_save(flags);
	preempt_count_add(NMI_OFFSET + HARDIRQ_OFFSET);
	lab_state_target();
	preempt_count_sub(NMI_OFFSET + HARDIRQ_OFFSET);
	local_irq_restore(flags);
	return 0;
}

static int write_s(void)
{
	struct words words;
	unsigned long flags;
	bool found;

	local_irq_save(flags);
	found = own(&words);
	if (found)
		lab_state_write(words.s);
	local_irq_restore(flags);
	return found ? 0 : -ENOENT;
}

static int act(const char *value, const struct kernel_param *param)
{
	if (sysfs_streq(value, "leak"))
		return at_a_switch(1, M_AT_REST + 2);
	if (sysfs_streq(value, "zero"))
		return at_a_switch(0, 0);
	if (sysfs_streq(value, "nmi"))
		return as_nmi();
	if (sysfs_streq(value, "write"))
		return write_s();
	return -EINVAL;
}

static const struct kernel_param_ops act_ops = { .set = act };
module_param_cb(act, &act_ops, NULL, 0200);
MODULE_PARM_DESC(act, "leak, zero, nmi or write");

static bool is_object(const char *name, bool s_first)
{
	struct words words;
	unsigned long flags;
	bool found;

	object = lookup(name);
	s_is_first = s_first;
	if (!object)
		return false;
	local_irq_save(flags);
	found = own(&words);
	local_irq_restore(flags);
	return found;
}

static void keep_sched_switch(struct tracepoint *tracepoint, void *unused)
{
	if (!strcmp(tracepoint->name, "sched_switch"))
		sched_switch = tracepoint;
}

static int __init lab_state_init(void)
{
	/* Not exported since 5.7; a probe on it knows where it is. */
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	for_each_kernel_tracepoint(keep_sched_switch, NULL);
	if (!sched_switch)
		return -ENOENT;
	if (is_object("context_tracking", true) || is_object("rcu_data", false))
		return 0;
	return -ENOENT;
}

static void __exit lab_state_exit(void)
{
}

module_init(lab_state_init);
module_exit(lab_state_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: RCU's counters spoilt on purpose");
