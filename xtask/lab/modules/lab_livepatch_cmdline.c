// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch of cmdline_proc_show(), the function behind /proc/cmdline: it
 * runs in the context of whoever reads the file, where RCU always watches.
 * There is nothing to be said against it, on any kernel.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int lab_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "this has been live patched\n");
	return 0;
}

static struct klp_func funcs[] = {
	{
		.old_name = "cmdline_proc_show",
		.new_func = lab_cmdline_proc_show,
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

static int __init lab_livepatch_cmdline_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit lab_livepatch_cmdline_exit(void)
{
}

module_init(lab_livepatch_cmdline_init);
module_exit(lab_livepatch_cmdline_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: livepatch of a function that always runs watched");
MODULE_INFO(livepatch, "Y");
