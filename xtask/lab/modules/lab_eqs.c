// SPDX-License-Identifier: GPL-2.0
/*
 * Enters a real EQS, through the calls that the kernel exports for idle
 * drivers, and does there what must not be done there. Writing to the
 * parameter "act" runs an action on the CPU of the writer:
 *
 *   call     call lab_eqs_target(), a function that anybody can hook, with
 *            RCU off: whoever has a handler on it breaks, on every kernel
 *   wide     the same with lab_eqs_wide(), whose body is long enough for a
 *            kprobe in it to be optimised
 *   sqrt     the same with int_sqrt(), which is the kernel's own
 *   spin     the same, and stay for 50 ms in a function that can be hooked,
 *            for NMIs to find
 *   irqs_on  enter and leave the EQS with interrupts on
 */
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/string.h>

#ifdef CONFIG_CONTEXT_TRACKING_IDLE
#include <linux/context_tracking.h>
#define lab_enter() ct_idle_enter()
#define lab_exit() ct_idle_exit()
#else
#include <linux/rcupdate.h>
#define lab_enter() rcu_idle_enter()
#define lab_exit() rcu_idle_exit()
#endif

#define TIMES 20
#define SPIN_US 50000

noinline void lab_eqs_target(int round);
noinline void lab_eqs_wide(void);
noinline void lab_eqs_spin(void);

noinline void lab_eqs_target(int round)
{
	barrier();
}

/* Straight code: a jump takes the place of five bytes of it. */
noinline void lab_eqs_wide(void)
{
	asm volatile(".rept 16\n\tnop\n\t.endr");
}

/* rdtsc and pause only: nothing that would use RCU by itself. */
noinline void lab_eqs_spin(void)
{
	unsigned long left = SPIN_US / 10;

	while (left--)
		udelay(10);
}

static void sqrt_of(int round)
{
	(void)int_sqrt(round);
}

static void wide(int round)
{
	lab_eqs_wide();
}

/* There and back, again and again. */
static void visit(void (*there)(int round))
{
	unsigned long flags;
	int round;

	for (round = 0; round < TIMES; round++) {
		local_irq_save(flags);
		lab_enter();
		there(round);
		lab_exit();
		local_irq_restore(flags);
	}
}

static void spin(void)
{
	unsigned long flags;

	local_irq_save(flags);
	lab_enter();
	lab_eqs_spin();
	lab_exit();
	local_irq_restore(flags);
}

/*
 * Short, and just after a tick: an irq in between would run without RCU, and
 * the kernel would complain of that.
 */
static void irqs_on(void)
{
	unsigned long tick = jiffies;

	while (READ_ONCE(jiffies) == tick)
		cpu_relax();
	lab_enter();
	lab_exit();
}

static int act(const char *value, const struct kernel_param *param)
{
	int result = 0;

	preempt_disable();
	if (sysfs_streq(value, "call"))
		visit(lab_eqs_target);
	else if (sysfs_streq(value, "wide"))
		visit(wide);
	else if (sysfs_streq(value, "sqrt"))
		visit(sqrt_of);
	else if (sysfs_streq(value, "spin"))
		spin();
	else if (sysfs_streq(value, "irqs_on"))
		irqs_on();
	else
		result = -EINVAL;
	preempt_enable();
	return result;
}

static const struct kernel_param_ops act_ops = { .set = act };
module_param_cb(act, &act_ops, NULL, 0200);
MODULE_PARM_DESC(act, "call, wide, sqrt, spin or irqs_on");

static int __init lab_eqs_init(void)
{
	return 0;
}

static void __exit lab_eqs_exit(void)
{
}

module_init(lab_eqs_init);
module_exit(lab_eqs_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: traceable code in a real EQS");
