# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one clock that both doors, the initrd's script and the kernel's own messages share."""

import time


def uptime() -> float:
    """Seconds since this kernel started: what /proc/uptime says (fs/proc/uptime.c), without reading a file."""
    return round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)
