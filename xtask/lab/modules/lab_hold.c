// SPDX-License-Identifier: GPL-2.0
/*
 * Holds RCU's grace period from the last CPU, in a kthread bound to it, until
 * it is told to let go or its time is over, and wants one, which an idle
 * machine may not for minutes. Writing to the parameter "act":
 *
 *   rcu      spin in an RCU read-side section, preemption off
 *   irqs     spin with interrupts off
 *   release  let go
 *
 * The parameter "seconds" is how long it holds at most.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

static unsigned int seconds = 30;
module_param(seconds, uint, 0644);

static bool released = true;
static bool holds;
static struct task_struct *holder;
static struct rcu_head wanted;

noinline void lab_hold_rcu(void);
noinline void lab_hold_irqs(void);

static void spin(void)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)seconds * NSEC_PER_SEC;

	WRITE_ONCE(holds, true);
	while (!READ_ONCE(released) && ktime_get_mono_fast_ns() < end)
		cpu_relax();
}

noinline void lab_hold_rcu(void)
{
	preempt_disable();
	rcu_read_lock();
	spin();
	rcu_read_unlock();
	preempt_enable();
}

noinline void lab_hold_irqs(void)
{
	unsigned long flags;

	local_irq_save(flags);
	spin();
	local_irq_restore(flags);
}

static int live(void *hold)
{
	((void (*)(void))hold)();
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

static void nothing(struct rcu_head *head)
{
}

static void release(void)
{
	WRITE_ONCE(released, true);
	if (!holder)
		return;
	kthread_stop(holder);
	holder = NULL;
	rcu_barrier();
}

static int hold(void (*how)(void))
{
	struct task_struct *task;

	release();
	task = kthread_create(live, how, "lab_hold");
	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, cpumask_last(cpu_online_mask));
	released = false;
	holds = false;
	holder = task;
	wake_up_process(task);
	/* A grace period that begins before it holds may be over by then. */
	while (!READ_ONCE(holds))
		msleep(1);
	call_rcu(&wanted, nothing);
	return 0;
}

static int act(const char *value, const struct kernel_param *param)
{
	if (sysfs_streq(value, "rcu"))
		return hold(lab_hold_rcu);
	if (sysfs_streq(value, "irqs"))
		return hold(lab_hold_irqs);
	if (!sysfs_streq(value, "release"))
		return -EINVAL;
	release();
	return 0;
}

static const struct kernel_param_ops act_ops = { .set = act };
module_param_cb(act, &act_ops, NULL, 0200);
MODULE_PARM_DESC(act, "rcu, irqs or release");

static int __init lab_hold_init(void)
{
	return 0;
}

static void __exit lab_hold_exit(void)
{
	release();
}

module_init(lab_hold_init);
module_exit(lab_hold_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: holds the grace period");
