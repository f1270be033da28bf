// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch of arch_cpu_idle(), as somebody might write one: it does what
 * the function does, and nothing looks wrong about it.
 *
 * Up to 6.2 the idle loop calls arch_cpu_idle() after rcu_idle_enter() or
 * ct_idle_enter(), so that this body and the ftrace handler that leads to it
 * run on a CPU that RCU does not watch. From 6.3 the function is noinstr
 * (2b5a0e425e6e, "objtool/idle: Validate __cpuidle code as noinstr") and the
 * kernel refuses to patch it: loading fails with -EINVAL.
 */
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

/*
 * Entered with interrupts off and left with them on, like the original's
 * default_idle(): do_idle() of these kernels disables them again.
 */
static void lab_arch_cpu_idle(void)
{
	raw_safe_halt();
}

static struct klp_func funcs[] = {
	{
		.old_name = "arch_cpu_idle",
		.new_func = lab_arch_cpu_idle,
	},
	{}
};

static struct klp_object objs[] = {
	{
		/* No name: vmlinux itself. */
		.funcs = funcs,
	},
	{}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init lab_livepatch_idle_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lab_livepatch_idle_exit(void)
{
}

module_init(lab_livepatch_idle_init);
module_exit(lab_livepatch_idle_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: livepatch of a function that runs with RCU off");
MODULE_INFO(livepatch, "Y");
