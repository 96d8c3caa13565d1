// SPDX-License-Identifier: LGPL-2.1-or-later
/* Oopses while it is being loaded. For tests in a virtual machine. */

#include <linux/module.h>

static noinline void kcrash_oops(void)
{
	*(volatile int *)8 = 1;
}

static int __init kcrash_init(void)
{
	kcrash_oops();
	return 0;
}

module_init(kcrash_init);
MODULE_DESCRIPTION("oopses while it is being loaded");
MODULE_LICENSE("GPL");
