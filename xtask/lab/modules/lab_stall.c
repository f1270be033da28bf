// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of a module for a livepatch to replace, and a kthread that sleeps
 * in one of them: a livepatch of lab_stall_sleep() cannot complete before the
 * kthread has left it. Writing to the parameter "act":
 *
 *   sleep    start the kthread
 *   leave    have it leave lab_stall_sleep() and sleep somewhere else
 *   call     call lab_stall_call() some times
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/wait.h>

#define TIMES 20

static DECLARE_WAIT_QUEUE_HEAD(door);
static DECLARE_COMPLETION(there);
static bool is_open;
static struct task_struct *sleeper;

noinline void lab_stall_sleep(void);
noinline void lab_stall_call(int round);

/* Not uninterruptible: nobody should take it for a hung task. */
noinline void lab_stall_sleep(void)
{
	complete(&there);
	wait_event_interruptible(door, READ_ONCE(is_open) || kthread_should_stop());
	barrier();
}

noinline void lab_stall_call(int round)
{
	barrier();
}

static int live(void *unused)
{
	lab_stall_sleep();
	wait_event_interruptible(door, kthread_should_stop());
	return 0;
}

static int start(void)
{
	struct task_struct *task;

	if (sleeper)
		return -EBUSY;
	is_open = false;
	reinit_completion(&there);
	task = kthread_run(live, NULL, "lab_stall");
	if (IS_ERR(task))
		return PTR_ERR(task);
	sleeper = task;
	wait_for_completion(&there);
	return 0;
}

static void leave(void)
{
	WRITE_ONCE(is_open, true);
	wake_up(&door);
}

static int act(const char *value, const struct kernel_param *param)
{
	int round;

	if (sysfs_streq(value, "sleep"))
		return start();
	if (sysfs_streq(value, "leave"))
		leave();
	else if (sysfs_streq(value, "call"))
		for (round = 0; round < TIMES; round++)
			lab_stall_call(round);
	else
		return -EINVAL;
	return 0;
}

static const struct kernel_param_ops act_ops = { .set = act };
module_param_cb(act, &act_ops, NULL, 0200);
MODULE_PARM_DESC(act, "sleep, leave or call");

static int __init lab_stall_init(void)
{
	return 0;
}

static void __exit lab_stall_exit(void)
{
	if (sleeper)
		kthread_stop(sleeper);
}

module_init(lab_stall_init);
module_exit(lab_stall_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: a kthread that sleeps in a function to be patched");
