# SPDX-License-Identifier: LGPL-2.1-or-later
"""The smallest reservation with which every capture of many succeeds."""

from collections.abc import Callable

from tests.bench.crash import CrashingGuest
from tests.bench.rounds import one_crash
from tests.bench.tools import Job, Tool, succeeded
from tests.vm.guest import VmError

STEP = 8
MOST = 192
MIB = 1 << 20
SNAPSHOT = "bench-small"


def smallest_reservation(guest: CrashingGuest, tool: Tool, captures: int) -> int | None:
    """In megabytes, for the job of saving the log; None when even the whole reservation does not do."""

    def works(megabytes: int) -> bool:
        try:
            armed = _arm_with(guest, tool, megabytes)
        except VmError as problem:
            print(f"  {tool.name} with {megabytes}M: {problem}", flush=True)
            return False
        good = armed and all(succeeded(one_crash(guest, tool, SNAPSHOT), Job.DMESG) for _ in range(captures))
        why = "works" if good else f"a capture failed, see {guest.consoles[-1]}" if armed else "does not load"
        print(f"  {tool.name} with {megabytes}M: {why}", flush=True)
        return good

    return smallest_that_works(works, start=tool.start_megabytes)


def _arm_with(guest: CrashingGuest, tool: Tool, megabytes: int) -> bool:
    """Whether the snapshot is made that the captures begin with."""
    guest.kill()
    guest.restore(tool.snapshot(Job.DMESG))
    armed = tool.load_into(guest, megabytes * MIB)
    if armed:
        guest.save(SNAPSHOT)
    return armed


def smallest_that_works(works: Callable[[int], bool], *, start: int) -> int | None:
    """Down from `start` until it fails, or up until it works."""
    size = start
    if works(size):
        while size > STEP and works(size - STEP):
            size -= STEP
        return size
    return next((larger for larger in range(start + STEP, MOST + 1, STEP) if works(larger)), None)
