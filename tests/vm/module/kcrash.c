// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Oopses while it is being loaded; with ring=1 panics with a log that is damaged; with how= warns, stops a CPU or never ends. For
 * tests in a virtual machine.
 */

#include <linux/completion.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/panic.h>

static bool ring;
module_param(ring, bool, 0);

static char *how = "oops";
module_param(how, charp, 0);

/* The head of struct printk_ringbuffer in kernel/printk/printk_ringbuffer.h, which is private. */
struct desc {
	unsigned long state;
	unsigned long begin;
	unsigned long next;
};

struct desc_ring {
	unsigned int count_bits;
	struct desc *descs;
};

static noinline void kcrash_oops(void)
{
	*(volatile int *)8 = 1;
}

static noinline void kcrash_warn(void)
{
	WARN(1, "kcrash warns");
}

static noinline void kcrash_soft_lockup(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static noinline void kcrash_hung_task(void)
{
	static DECLARE_COMPLETION(never);

	wait_for_completion(&never);
	/* No tail call: this function is to be in the trace. */
	barrier();
}

/* Kernels since 5.7 do not export kallsyms_lookup_name(), but a probe finds it. */
static unsigned long address_of(const char *name)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *);

	if (register_kprobe(&probe))
		return 0;
	lookup = (void *)probe.addr;
	unregister_kprobe(&probe);
	return lookup(name);
}

/* Every second record points far outside of the log. */
static void damage_ring(void)
{
	struct desc_ring **prb = (void *)address_of("prb");
	unsigned int number;

	if (!prb)
		return;
	for (number = 0; number < 1U << (*prb)->count_bits; number += 2) {
		(*prb)->descs[number].begin = 0x5a5a5a5a5a5a5a5aUL;
		(*prb)->descs[number].next = 0xa5a5a5a5a5a5a5a5UL;
	}
	panic("kcrash has damaged the log");
}

static int __init kcrash_init(void)
{
	if (ring)
		damage_ring();
	if (!strcmp(how, "warn"))
		kcrash_warn();
	else if (!strcmp(how, "soft-lockup"))
		kcrash_soft_lockup();
	else if (!strcmp(how, "hung-task"))
		kcrash_hung_task();
	else
		kcrash_oops();
	return 0;
}

module_init(kcrash_init);
MODULE_DESCRIPTION("oopses while it is being loaded, or damages the log");
MODULE_LICENSE("GPL");
