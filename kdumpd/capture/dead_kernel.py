# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who has crashed, and when."""

import time
from pathlib import Path

from .console import say
from .folders import crash_time
from .status import CrashFacts
from .story import Story, reason
from .vmcoreinfo import crashed_kernel, read_vmcoreinfo


def learn(story: Story, vmcore: Path) -> int:
    """Puts on record what the dead kernel left about itself, and returns the time of the crash."""
    left = None
    try:
        crashed = crashed_kernel(read_vmcoreinfo(vmcore))
        left = crashed.time
        story.status.crash = CrashFacts(
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(left)) if left is not None else None,
            release=crashed.release,
            build_id=crashed.build_id,
            kaslr_offset=crashed.kaslr_offset,
            page_size=crashed.page_size,
        )
    except Exception as problem:  # noqa: BLE001 - this is the memory of a machine that was broken
        say(f"cannot tell what has crashed: {reason(problem)}")
    when, remark = crash_time(left, time.time())
    if remark:
        say(remark)
    return when
