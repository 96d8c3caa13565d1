# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of the machine. There is always one, with or without an init system."""

import contextlib
import ctypes
import os
import time
from pathlib import Path

from . import patience
from .console import say
from .program import SaveError
from .settings import FinalAction

SYNC_PATIENCE = 10.0
SYSRQ_PATIENCE = 20.0
# include/uapi/linux/reboot.h
REBOOT_COMMANDS = {
    FinalAction.POWEROFF: 0x4321FEDC,
    FinalAction.REBOOT: 0x01234567,
    FinalAction.HALT: 0xCDEF0123,
}


def end_machine(action: FinalAction) -> None:
    """Powers off, reboots or halts, now. Returns only if the kernel refuses every way that there is."""
    say(f"{action} now")
    sync_with_patience()
    try:
        ctypes.CDLL(None, use_errno=True).reboot(ctypes.c_int(REBOOT_COMMANDS[action]))
        say(f"the kernel refused to {action}: {os.strerror(ctypes.get_errno())}")
    except (OSError, AttributeError) as problem:
        say(f"cannot call reboot(2): {problem}")
    for key in ("b",) if action is FinalAction.REBOOT else ("o", "b"):
        try:
            Path("/proc/sysrq-trigger").write_text(key)
        except OSError as problem:
            say(f"cannot trigger sysrq {key}: {problem}")
        time.sleep(SYSRQ_PATIENCE)


def sync_with_patience() -> None:
    """sync(2) waits for ever on a dead disk or a lost NFS server; what must be safe was fsynced before."""
    with contextlib.suppress(SaveError):
        patience.call(os.sync, timeout=SYNC_PATIENCE, what="sync(2)")
