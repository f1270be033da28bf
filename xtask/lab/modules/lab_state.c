// SPDX-License-Identifier: GPL-2.0
/*
 * Corrupts this CPU's RCU state words, one after another, and puts each back
 * within a context switch or at once. Writing to the parameter "act" runs an
 * action on the CPU of the writer:
 *
 *   leak    M stays one irq too deep over a context switch
 *   zero    N and M are zero over a context switch although RCU watches
 *   nmi     P says NMI, M does not, in a function that anybody can hook
 *   write   S is written (with what it holds) by somebody who is not RCU
 *
 * The words are found without types: in a task M is 1 << 62, which nothing
 * else near it is, N is 1 and lies before it, and S is beside the two.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <linux/string.h>

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

static DECLARE_COMPLETION(switched);
static DECLARE_COMPLETION(restored);

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

static void rest(struct words *words)
{
	unsigned long flags;

	local_irq_save(flags);
	WRITE_ONCE(*words->n, 1);
	WRITE_ONCE(*words->m, M_AT_REST);
	local_irq_restore(flags);
}

static int restore(void *data)
{
	wait_for_completion(&switched);
	rest(data);
	complete(&restored);
	return 0;
}

/* Leaves N and M as given until another task of this CPU has run. */
static int over_a_switch(long n, long m)
{
	struct words words;
	struct task_struct *other;
	unsigned long flags;
	bool found;
	int cpu;

	cpu = get_cpu();
	local_irq_save(flags);
	found = own(&words);
	local_irq_restore(flags);
	put_cpu();
	if (!found)
		return -ENOENT;
	reinit_completion(&switched);
	reinit_completion(&restored);
	other = kthread_create(restore, &words, "lab_restore");
	if (IS_ERR(other))
		return PTR_ERR(other);
	kthread_bind(other, cpu);
	wake_up_process(other);
	/* Only a task that stays where it is knows whose words it spoils. */
	if (set_cpus_allowed_ptr(current, cpumask_of(cpu)))
		return -EBUSY;
	local_irq_save(flags);
	WRITE_ONCE(*words.n, n);
	WRITE_ONCE(*words.m, m);
	local_irq_restore(flags);
	complete(&switched);
	wait_for_completion(&restored);
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	return 0;
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
		return over_a_switch(1, M_AT_REST + 2);
	if (sysfs_streq(value, "zero"))
		return over_a_switch(0, 0);
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

static int __init lab_state_init(void)
{
	/* Not exported since 5.7; a probe on it knows where it is. */
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
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
