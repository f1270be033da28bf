// SPDX-License-Identifier: GPL-2.0
/*
 * A kprobe of a module's own. Parameters, when it is loaded:
 *
 *   symbol   the function
 *   post     with a post handler: where the kprobe sits on ftrace's site it may
 *            then change where the function goes on, which only one may, and a
 *            livepatch is one too
 *   inside   not at the function's entry but at the first instruction after it
 */
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <linux/module.h>

#define FARTHEST 64

static char *symbol = "cmdline_proc_show";
module_param(symbol, charp, 0444);
static bool post;
module_param(post, bool, 0444);
static bool inside;
module_param(inside, bool, 0444);

static struct kprobe probe;

static int before(struct kprobe *p, struct pt_regs *regs)
{
	return 0;
}

static void after(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static int probe_at(unsigned int offset)
{
	probe = (struct kprobe) {
		.symbol_name = symbol,
		.offset = offset,
		.pre_handler = before,
		.post_handler = post ? after : NULL,
	};
	return register_kprobe(&probe);
}

/* Where an instruction starts depends on the compiler: the kernel knows. */
static int probe_inside(void)
{
	unsigned int offset;

	for (offset = 1; offset < FARTHEST; offset++) {
		if (probe_at(offset))
			continue;
		if (!(probe.flags & KPROBE_FLAG_FTRACE))
			return 0;
		unregister_kprobe(&probe);
	}
	return -ENOENT;
}

static int __init lab_kprobe_init(void)
{
	return inside ? probe_inside() : probe_at(0);
}

static void __exit lab_kprobe_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(lab_kprobe_init);
module_exit(lab_kprobe_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("rcu-watch lab: a kprobe of a module's own");
