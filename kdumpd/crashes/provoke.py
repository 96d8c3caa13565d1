# SPDX-License-Identifier: LGPL-2.1-or-later
"""Crashes this machine on purpose."""

import os
import time
from pathlib import Path

from kdumpd.capture.console import say
from kdumpd.capture.durable import remove_file
from kdumpd.capture.machine import sync_with_patience
from kdumpd.crashes.selftest import StartedTest, conclude_test, record_start
from kdumpd.errors import HostError
from kdumpd.files import read_text
from kdumpd.host import layout

# It obeys whatever kernel.sysrq says: that is for the keyboard (drivers/tty/sysrq.c, write_sysrq_trigger(): check_mask is false).
TRIGGER = "proc/sysrq-trigger"
DEVKMSG = "proc/sys/kernel/printk_devkmsg"
PATIENCE = 5.0


def check_can_crash(root: Path) -> None:
    """Refuses before anything is done.

    Raises:
        HostError: this kernel can't be crashed by hand, or not by this user, or its log could not be told from another's.
    """
    trigger = root / TRIGGER
    if not trigger.exists():
        raise HostError(f"this kernel has no /{TRIGGER}", hint="run a kernel with CONFIG_MAGIC_SYSRQ")
    if not os.access(trigger, os.W_OK):
        raise HostError(f"this user may not write to /{TRIGGER}", hint="run this as root, and not in a container")
    # kernel/printk/printk.c, devkmsg_write(): takes what is written, and throws it away.
    if (read_text(root / DEVKMSG) or "").strip() == "off":
        raise HostError(
            "kernel.printk_devkmsg is off: the log could not show that it is of this test",
            hint="sysctl kernel.printk_devkmsg=on; where the kernel refuses that, take printk.devkmsg=off off its command line",
        )


def crash_machine(root: Path, test: StartedTest) -> None:
    """Puts the test on record, durably, and crashes. Returns only if the kernel does not die; then nothing is on record.

    The caller holds the lock, so that no load of a dump kernel is cut off.
    """
    # Of an earlier one that nobody has looked at yet, the result must not be lost.
    conclude_test(root)
    try:
        record_start(root, test)
        say(f"test {test.token}: crashing this machine now, on purpose")
        sync_with_patience()
        (root / TRIGGER).write_text("c")
        time.sleep(PATIENCE)
    finally:
        remove_file(root / layout.TEST)
