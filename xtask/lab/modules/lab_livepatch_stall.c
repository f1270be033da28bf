// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch of lab_stall's functions. With lab_stall's kthread asleep in
 * lab_stall_sleep() its transition stalls; loaded before lab_stall it waits
 * for that module, as patches of modules usually do.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

static void lab_new_sleep(void)
{
	barrier();
}

static void lab_new_call(int round)
{
	barrier();
}

static struct klp_func funcs[] = {
	{
		.old_name = "lab_stall_sleep",
		.new_func = lab_new_sleep,
	},
	{
		.old_name = "lab_stall_call",
		.new_func = lab_new_call,
	},
	{}
};

static struct klp_object objs[] = {
	{
		.name = "lab_stall",
		.funcs = funcs,
	},
	{}
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init lab_livepatch_stall_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lab_livepatch_stall_exit(void)
{
}

module_init(lab_livepatch_stall_init);
module_exit(lab_livepatch_stall_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: livepatch of a module's functions, one of them occupied");
MODULE_INFO(livepatch, "Y");
